"""One coordinator for all tests of the pages: they look at its runs, and decide about others."""

import html
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from server.runs.folder import RunFolder
from tests.server.web.place import Place, open_place, write_runs


@dataclass
class Visitor:
    """A browser without its screen."""

    place: Place
    client: httpx.Client
    csrf: str = ""

    def log_in(self, token: str, to: str = "/") -> httpx.Response:
        answer = self.client.post(
            "/log-in", data={"token": token, "next": to}, headers={"origin": self.place.url}
        )
        if 'name="csrf" value="' in answer.text:
            self.csrf = answer.text.split('name="csrf" value="')[1].split('"')[0]
        return answer

    def post(self, path: str, **fields: object) -> httpx.Response:
        files = {name: value for name, value in fields.items() if isinstance(value, tuple)}
        data = {name: value for name, value in fields.items() if name not in files} | {"csrf": self.csrf}
        return self.client.post(path, data=data, files=files or None, headers={"origin": self.place.url})

    def report(self, path: str) -> httpx.Response:
        """Return a report; a page that says that it is being made is waited for, as a browser does."""
        page = self.client.get(path)
        if 'id="report-now"' not in page.text:
            return page
        live = html.unescape(page.text.split('data-live="')[1].split('"')[0])
        assert '"over"' in self.client.get(live).text  # which ends once the report is there
        return self.client.get(path)


@pytest.fixture(scope="package")
def stage(tmp_path_factory) -> Iterator[tuple[Place, RunFolder]]:
    with open_place(tmp_path_factory.mktemp("pages") / "coordinator") as place:
        yield place, write_runs(place)


@pytest.fixture
def place(stage) -> Place:
    return stage[0]


@pytest.fixture
def going(stage) -> RunFolder:
    """Return the run that goes on, also where a test has stopped it."""
    place, run = stage
    run.describe(status="running")
    return place.goes_on(run)


@pytest.fixture
def visit(place: Place) -> Iterator:
    """Return a function that opens a browser, logged in where somebody is named."""
    with ExitStack() as stack:

        def come(name: str = "") -> Visitor:
            client = httpx.Client(verify=False, base_url=place.url, follow_redirects=True, timeout=300)  # noqa: S501
            visitor = Visitor(place, stack.enter_context(client))
            if name:
                assert visitor.log_in(place.tokens[name]).status_code == 200
            return visitor

        yield come
