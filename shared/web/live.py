"""Parts of a page that change while somebody looks: sent as server-sent events, put in place by `live.js`."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping

from starlette.responses import StreamingResponse

AGAIN_MS = 2000  # after which a browser whose stream ended asks again
ALIVE = b":\n\n"
"""Says that a stream is alive."""


def event(changed: Mapping[str, str]) -> bytes:
    """Return one event, on one line whatever is in it.

    Args:
        changed: By the id of an element, the HTML to stand in it. A part named `over` says that no more will
            come: the page is loaded again.
    """
    return f"event: parts\ndata: {json.dumps(dict(changed))}\n\n".encode()


def live_answer(events: AsyncIterable[bytes]) -> StreamingResponse:
    """Return a stream of what `event` made, and of signs of life."""
    return StreamingResponse(_stream(events), media_type="text/event-stream")


async def _stream(events: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield f"retry: {AGAIN_MS}\n\n".encode()
    async for one in events:
        yield one
