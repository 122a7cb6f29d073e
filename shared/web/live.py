"""Parts of a page that change while somebody looks: sent as server-sent events, put in place by `live.js`."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping

from starlette.responses import StreamingResponse

AGAIN_MS = 2000  # after which a browser whose stream ended asks again


def live_answer(parts: AsyncIterable[Mapping[str, str]]) -> StreamingResponse:
    """Return a stream of the parts of a page.

    Args:
        parts: By the id of an element, the HTML to stand in it; nothing is a sign of life. A part named
            `over` says that no more will come.
    """
    return StreamingResponse(_stream(parts), media_type="text/event-stream")


async def _stream(parts: AsyncIterable[Mapping[str, str]]) -> AsyncIterator[bytes]:
    yield f"retry: {AGAIN_MS}\n\n".encode()
    async for changed in parts:
        yield event(changed) if changed else b":\n\n"


def event(changed: Mapping[str, str]) -> bytes:
    """Return one event: JSON stands on one line, whatever is in it."""
    return f"event: parts\ndata: {json.dumps(dict(changed))}\n\n".encode()
