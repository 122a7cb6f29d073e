"""Reading a request's body where little is expected: whole, and not more than a few KiB."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

Body = TypeVar("Body", bound=BaseModel)
LONGEST = 32 * 1024  # bytes


async def read_body(request: Request, most: int = LONGEST) -> bytes:
    """Return a body of limited length.

    Raises:
        HTTPException: 413, it is longer than `most` bytes.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > most:
            raise HTTPException(413, "the request is too long", {"connection": "close"})
    return bytes(content)


async def parse_body(request: Request, kind: type[Body]) -> Body:
    """Return a body as a model.

    Raises:
        HTTPException: 413, it is too long; 400, it is not understood.
    """
    try:
        return kind.model_validate_json(await read_body(request))
    except ValidationError:
        raise HTTPException(400, "the request is not understood") from None
