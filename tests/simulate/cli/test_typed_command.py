"""The command that a report repeats can be typed."""

import sys

import pytest

from simulate.cli.options import command


@pytest.mark.parametrize("program", ["/opt/bin/wardround", "/src/wardround/__main__.py"])
def test_however_it_was_started(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "argv", [program, "simulate", "my job.toml", "--rounds", "3"])
    assert command() == "wardround simulate 'my job.toml' --rounds 3"
