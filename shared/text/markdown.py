"""Texts that somebody else wrote, in Markdown."""

from typing import Any

from shared.text.printable import printable

_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"})


def in_markdown(text: Any) -> str:
    """Return a text in which Markdown reads no mark, and HTML none either."""
    return printable(text).translate(_MARKS)
