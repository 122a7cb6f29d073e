"""Forms that a browser sends: only from a page of ours, and only with the word that stands in it."""

import secrets
from http import HTTPStatus
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from shared.web.sessions import Session

CSRF = "csrf"
"""Name of the hidden field."""
_MOST_FIELDS, _MOST_FILES = 50, 4
_LONGEST_FIELD = 2**20  # bytes
_FROM_ELSEWHERE = "this form does not come from a page of ours; open the page again and repeat it"


def check_origin(request: Request) -> None:
    """Refuse a request that another site's page made.

    Raises:
        HTTPException: 403, its browser says so, or doesn't say where it comes from.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    is_foreign = site not in (None, "same-origin") or origin not in (None, own)
    if is_foreign or (site is None and origin is None):
        raise HTTPException(HTTPStatus.FORBIDDEN, _FROM_ELSEWHERE)


async def read_form(request: Request, session: Session[Any] | None) -> FormData:
    """Return the fields of a form that a page of ours has sent; before a log-in its origin must do.

    Raises:
        HTTPException: 403, it comes from elsewhere; 400, it is not understood.
    """
    check_origin(request)
    try:
        form = await request.form(
            max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD
        )
    except ValueError:  # of the parser and of codecs; Starlette answers its own errors alone
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the form is not understood") from None
    if session is not None and not secrets.compare_digest(
        text_of(form, CSRF).encode(), session.csrf.encode()
    ):
        raise HTTPException(HTTPStatus.FORBIDDEN, _FROM_ELSEWHERE)
    return form


def text_of(form: FormData, name: str) -> str:
    """Return a field's text, without spaces around it; nothing where it is missing or a file."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""
