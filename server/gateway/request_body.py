"""Reading a request's body where little is expected: whole, and not more than a few KiB."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

Body = TypeVar("Body", bound=BaseModel)
LONGEST = 32 * 1024  # bytes


async def read_body(request: Request, most: int = LONGEST) -> bytes:
    """Return a body of limited length; one that is longer is read to its end, so that the answer is heard.

    The listener's limits hold for what is read.

    Raises:
        HTTPException: 413, it is longer than `most` bytes.
    """
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            content += chunk
    if size > most:
        raise HTTPException(413, "the request is too long")
    return bytes(content)


async def parse_body(request: Request, kind: type[Body], most: int = LONGEST) -> Body:
    """Return a body of limited length as a model.

    Raises:
        HTTPException: 413, it is too long; 400, it is not understood.
    """
    try:
        return kind.model_validate_json(await read_body(request, most))
    except ValidationError:
        raise HTTPException(400, "the request is not understood") from None
