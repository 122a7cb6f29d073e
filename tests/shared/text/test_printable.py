"""What somebody else wrote can't write lines of ours, move the cursor, or hide what stands beside it."""

import io
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from shared.text.logs import about, log_to_stderr
from shared.text.printable import printable, printable_lines, shown

PROJECT = Path(__file__).parents[3]
NASTY = "\x1b[8m[bold red]x[/]\r\n\u202efdp\u2028\u200b\u0085\x9b5m\N{HEBREW LETTER ALEF}"


def is_tame(line: str) -> bool:
    return all(
        unicodedata.category(letter)[0] not in "C"
        and (letter == " " or unicodedata.category(letter)[0] != "Z")
        and unicodedata.bidirectional(letter) not in ("R", "AL", "AN", "RLO", "RLE", "RLI", "LRO", "PDF")
        for letter in line
    )


@given(st.text() | st.just(NASTY))
def test_it_is_one_tame_line_that_says_what_was_there(text: str) -> None:
    assert is_tame(printable(text))
    if is_tame(text):
        assert printable(text) == text


@given(st.text() | st.just(NASTY))
def test_of_several_lines_the_first_alone_begins_a_line(text: str) -> None:
    first, *others = printable_lines(text).split("\n")
    assert all(line.startswith("  ") for line in others)
    assert all(is_tame(line) for line in (first, *others))


def test_rich_reads_no_markup_in_it() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    table = Table("a")
    table.add_row(shown(NASTY))
    console.print(table)
    text = console.file.getvalue()
    assert r"\x1b[8m[bold red]x[/]\r\n\u202efdp\u2028\u200b\x85\x9b5m\u05d0" in text


def test_nobody_writes_lines_of_the_log(logged) -> None:
    stream = logged("text")
    logging.getLogger("x").warning("%s: failed", "train\n2026-01-01 00:00:00,000 INFO job approved\x1b[2K")
    assert len(re.findall(r"^\d{4}", stream.getvalue(), re.MULTILINE)) == 1
    assert "\n  2026-01-01 00:00:00,000 INFO job approved\\x1b[2K" in stream.getvalue()


def test_as_json_a_line_is_an_object_with_what_it_is_about(logged) -> None:
    stream = logged("json")
    log = logging.getLogger("x")
    log.warning("%s failed\n{}", "alpha", extra=about(run="r", site="alpha", round=2, reason=""))
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("bad")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == r"alpha failed\n{}"
    assert {key: first[key] for key in ("level", "run", "site", "round")} == {
        "level": "warning",
        "run": "r",
        "site": "alpha",
        "round": 2,
    }
    assert "reason" not in first
    assert "KeyError: 'gone'" in second["traceback"]


def test_what_flower_logs_is_logged_once_and_without_colours(logged) -> None:
    stream = logged("text")
    import shared.flower  # noqa: F401  (which takes Flower's own way to the terminal away)

    logging.getLogger("flwr").warning("a node is lost")
    logging.getLogger("flwr").debug("AcquireTask")
    assert "AcquireTask" not in stream.getvalue()
    assert stream.getvalue().count("a node is lost") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], io.StringIO]]:
    """Return a function that lets the services' log begin, and returns what comes on standard error."""
    root, stream = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level

    def begin(kind: str) -> io.StringIO:
        monkeypatch.setenv("WARDROUND_LOG", kind)
        monkeypatch.setattr(sys, "stderr", stream)
        log_to_stderr()
        return stream

    yield begin
    root.handlers[:] = before
    root.setLevel(level)


def test_one_function_does_it() -> None:
    """Whoever else asks whether a letter is printable escapes in a way of its own."""
    own = {
        path.relative_to(PROJECT).as_posix()
        for package in ("client", "server", "shared", "simulate")
        for path in (PROJECT / package).rglob("*.py")
        if "isprintable" in path.read_text(encoding="utf-8")
    }
    assert own == {"shared/text/printable.py"}
