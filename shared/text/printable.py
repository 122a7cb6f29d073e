r"""Texts that somebody else wrote, as they may be printed: a job's, a site's, the coordinator's.

Whatever is not a plain letter of a line becomes visible: escape sequences (``\x1b``), line breaks (``\n``),
marks and letters that turn the direction of writing (``\u202e``).
"""

import logging
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_RIGHT_TO_LEFT = {"R", "AL", "AN"}  # they move what stands beside them


def printable(text: object) -> str:
    """Return a text on one line, escaped."""
    text = str(text)
    if text.isascii() and text.isprintable():  # most are, and none of these letters turns the direction
        return text
    return "".join(letter if _is_plain(letter) else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: object) -> str:
    """Return a text of several lines, escaped; all but the first are indented, so that none is of our own."""
    first, *others = str(text).split("\n")
    lines = [
        printable(first),
        *(line if line.startswith("  ") else f"  {line}" for line in map(printable, others)),
    ]
    return "\n".join(lines)


def shown(text: object) -> "Text":
    """Return a text on one line for a table or a console of Rich, which reads no markup in it."""
    from rich.text import Text  # noqa: PLC0415  (a third of a second, and not all that print have a table)

    return Text(printable(text))


class PrintableFormatter(logging.Formatter):
    """Escapes what is logged: who sends a message can't write lines of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, with a traceback behind it if there is one."""
        return printable_lines(super().format(record))


def _is_plain(letter: str) -> bool:
    return letter.isprintable() and unicodedata.bidirectional(letter) not in _RIGHT_TO_LEFT
