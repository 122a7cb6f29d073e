"""Pages: a template, the menu, who is logged in, and what is to be said first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import metadata, resources
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from shared.web.environment import make_environment
from shared.web.forms import CSRF
from shared.web.sessions import Session

_FILES = {"wardround.css": "text/css", "live.js": "text/javascript"}


@dataclass(frozen=True)
class Link:
    """An entry of the menu."""

    path: str
    name: str


class Pages:
    """Answers with pages of one look.

    Args:
        package: Its folder `folder` has the templates, which extend `base.html.j2`.
        place: What the pages are of, beside the name Wardround: a coordinator, a hospital.
        menu: Where every page leads.
        folder: See above.
        files: Path below which `file_routes` gives the style and the script.
        leave: Path of the form that logs out; nothing where there is none.
    """

    def __init__(
        self,
        package: str,
        place: str,
        menu: Sequence[Link],
        *,
        folder: str = "templates",
        files: str = "/static",
        leave: str = "",
    ) -> None:
        self._environment = make_environment(package, folder)
        self._environment.globals.update(
            place=place, files=files, leave=leave, csrf_name=CSRF, version=metadata.version("wardround")
        )
        self._menu = menu
        self._files = files

    def answer(
        self,
        template: str,
        request: Request,
        session: Session[Any] | None,
        *,
        who: str = "",
        status: int = HTTPStatus.OK,
        **content: Any,
    ) -> HTMLResponse:
        """Return a page.

        Args:
            template: Name of its file.
            request: That is answered.
            session: The log-in, for forms and for what is to be said; None before one.
            who: Name of who is logged in.
            status: Of the answer.
            content: What the template shows.
        """
        text = self._environment.get_template(template).render(
            menu=self._menu if session else (),
            path=request.url.path,
            who=who,
            csrf=session.csrf if session else "",
            said=session.take_said() if session else (),
            **content,
        )
        return HTMLResponse(text, status)

    def part(self, template: str, **content: Any) -> Markup:
        """Return a part of a page that is live; without a form, as it may go to several people."""
        return Markup(self._environment.get_template(template).render(**content))  # noqa: S704 (escaped there)

    def file_routes(self) -> list[Route]:
        """Return the routes of the style and the script, which hold nothing of anybody's."""
        return [Route(f"{self._files}/{{name}}", _file, methods=["GET"])]


async def _file(request: Request) -> Response:
    content = _contents().get(request.path_params["name"])
    if content is None:
        return Response("there is no such file", HTTPStatus.NOT_FOUND)
    return Response(content, media_type=_FILES[request.path_params["name"]])


@cache
def _contents() -> Mapping[str, bytes]:
    folder = resources.files("shared.web") / "static"
    return {name: (folder / name).read_bytes() for name in _FILES}
