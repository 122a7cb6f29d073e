"""What every page has in common: log-ins that end, forms of our own, nothing of anybody else that acts."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from shared.web.environment import size
from shared.web.forms import read_form, text_of
from shared.web.headers import SecureHeaders
from shared.web.live import ALIVE, event, live_answer
from shared.web.moments import relative, utc
from shared.web.pages import Link, Pages
from shared.web.sessions import Sessions

HOSTILE = '<script>alert(1)</script>"onload="x\u202e'
URL = "https://wardround.test"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browser(clock: Clock, tmp_path, monkeypatch) -> Iterator[TestClient]:
    """A site of two pages, with a log-in, a log-out and a form."""
    package = tmp_path / "toy_pages"
    (package / "templates").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "templates" / "toy.html.j2").write_text(
        '{% extends "base.html.j2" %}{% block title %}{{ name }}{% endblock %}'
        "{% block content %}<h1>{{ name }}</h1>{% endblock %}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pages = Pages("toy_pages", "a place", [Link("/", "Start"), Link("/runs", "Runs")], leave="/leave")
    sessions: Sessions[str] = Sessions("__Host-toy", secure=True, life_s=100, idle_s=10, clock=clock)

    async def start(request: Request) -> Response:
        session = sessions.of(request)
        return pages.answer(
            "toy.html.j2", request, session, who=session.owner if session else "", name=HOSTILE
        )

    async def enter(request: Request) -> Response:
        form = await read_form(request, None)
        answer = RedirectResponse("/", 303)
        sessions.begin(text_of(form, "name"), text_of(form, "name"), answer)
        return answer

    async def leave(request: Request) -> Response:
        await read_form(request, sessions.of(request))
        answer = RedirectResponse("/", 303)
        sessions.end(request, answer)
        return answer

    async def say(request: Request) -> Response:
        session = sessions.of(request)
        assert session is not None
        session.say(text_of(await read_form(request, session), "text"))
        return RedirectResponse("/", 303)

    async def news(_: Request) -> Response:
        async def parts():
            yield event({"one": "<p>\n</p>"})
            yield ALIVE
            yield event({"over": "finished"})

        return live_answer(parts())

    routes = [Route("/", start), Route("/news", news), *pages.file_routes()]
    routes += [Route(f"/{f.__name__}", f, methods=["POST"]) for f in (enter, leave, say)]
    with TestClient(Starlette(routes=routes, middleware=[Middleware(SecureHeaders)]), URL) as client:
        yield client


def log_in(browser: TestClient) -> str:
    """Log in, and return the word of the forms."""
    assert browser.post("/enter", data={"name": "ada"}, headers={"origin": URL}).status_code == 200
    found = re.search(r'name="csrf" value="([\w-]{43})"', browser.get("/").text)
    assert found is not None
    return found[1]


def test_a_page_runs_nothing_that_somebody_wrote(browser: TestClient) -> None:
    answer = browser.get("/")
    assert "&lt;script&gt;" in answer.text
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|\son\w+=", answer.text)
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert browser.get(name).status_code == 200
    assert browser.get("/static/..%2fpages.py").status_code == 404


def test_a_log_in_is_a_cookie_that_no_script_reads_and_ends(browser: TestClient, clock: Clock) -> None:
    answer = browser.post("/enter", data={"name": "ada"}, headers={"origin": URL}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-toy=")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))
    assert "ada" in browser.get("/").text
    for _ in range(9):
        clock.now += 9.9
        assert "ada" in browser.get("/").text
    clock.now += 10.1
    assert "ada" not in browser.get("/").text
    log_in(browser)
    for _ in range(12):
        clock.now += 9
        browser.get("/")
    assert "ada" not in browser.get("/").text


def test_a_log_out_ends_what_a_copied_cookie_opens(browser: TestClient) -> None:
    csrf = log_in(browser)
    copied = dict(browser.cookies)
    browser.post("/leave", data={"csrf": csrf}, headers={"origin": URL})
    browser.cookies.update(copied)
    assert "ada" not in browser.get("/").text


@pytest.mark.parametrize(
    ("headers", "is_right"),
    [
        ({"origin": URL}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": URL, "sec-fetch-site": "same-origin"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "https://elsewhere.test"}, False),
        ({"origin": "http://wardround.test"}, False),
        ({"origin": URL, "sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
    ],
)
def test_a_form_comes_from_a_page_of_ours(browser: TestClient, headers, *, is_right: bool) -> None:
    csrf = log_in(browser)
    answer = browser.post("/say", data={"csrf": csrf, "text": "hello"}, headers=headers)
    assert answer.status_code == (200 if is_right else 403)
    assert ("hello" in browser.get("/").text or "hello" in answer.text) == is_right


def test_a_form_without_its_word_is_refused(browser: TestClient) -> None:
    log_in(browser)
    for wrong in ({}, {"csrf": ""}, {"csrf": "x" * 43}, {"csrf": "é"}):
        assert browser.post("/say", data={**wrong, "text": "x"}, headers={"origin": URL}).status_code == 403


def test_who_logs_in_often_logs_nobody_else_out(clock: Clock) -> None:
    sessions: Sessions[str] = Sessions("__Host-toy", secure=True, clock=clock)

    def enter(name: str, token: str) -> Request:
        answer = Response()
        sessions.begin(token, name, answer)
        cookie = answer.headers["set-cookie"].partition(";")[0].encode()
        return Request({"type": "http", "headers": [(b"cookie", cookie)]})

    olga = enter("olga", "her token")
    clock.now += 60  # idler than all that follow
    eves = [enter("eve", f"token {number}") for number in range(1500)]
    assert sessions.of(olga) is not None
    assert sessions.of(eves[-1]) is not None
    assert sessions.of(eves[0]) is None


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("boundary=x", b"no boundary"),
        ("boundary=" + "x" * 9000, b"x"),
        ("boundary=x", b"--x\r\n" + b"A: b\r\n" * 1000 + b"\r\nb\r\n--x--\r\n"),
        (
            "boundary=x; charset=undefined",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n',
        ),
        ("", b"x"),
    ],
)
def test_a_form_that_is_none_is_refused(browser: TestClient, kind: str, content: bytes) -> None:
    headers = {"origin": URL, "content-type": f"multipart/form-data; {kind}"}
    assert browser.post("/enter", content=content, headers=headers).status_code == 400


def test_what_is_said_is_said_once(browser: TestClient) -> None:
    csrf = log_in(browser)
    answer = browser.post("/say", data={"csrf": csrf, "text": HOSTILE}, headers={"origin": URL})
    assert "&lt;script&gt;" in answer.text
    assert 'role="status"' in answer.text
    assert 'role="status"' not in browser.get("/").text


def test_live_parts_are_one_line_each(browser: TestClient) -> None:
    events = browser.get("/news").text.split("\n\n")
    data = [json.loads(one.partition("data: ")[2]) for one in events if "data: " in one]
    assert data == [{"one": "<p>\n</p>"}, {"over": "finished"}]


def test_times_and_sizes_are_said_as_people_do() -> None:
    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert utc("2026-11-26T13:00:00+01:00") == "2026-11-26 12:00 UTC"
    assert relative("2026-11-26T11:57:00+00:00", now) == "3 minutes ago"
    assert relative("2026-12-01T12:00:00+00:00", now) == "in 5 days"
    assert relative("2026-11-26T12:00:00+00:00", now) == "now"
    assert (utc(""), relative(""), utc(None)) == ("–", "", "–")
    assert (size(1), size(1400), size(2.5e6)) == ("1 byte", "1.4 kB", "2.5 MB")
