"""What a check of an installation found, and how it is shown."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.errors import WardroundError
from shared.text.printable import printable

GIB = 2**30
LEAST_DISK, LITTLE_DISK = 1 * GIB, 10 * GIB
State = Literal["ok", "warning", "failure"]
_COLOURS: dict[State, str] = {"ok": "green", "warning": "yellow", "failure": "red"}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        what: What was looked at, in a word or two.
        detail: What was found.
        remedy: What to do, where there is something to do.
    """

    state: State
    what: str
    detail: str
    remedy: str | None = None


def guarded(what: str, check: Callable[[], Finding]) -> Finding:
    """Return what a check found; an error that a person can act on, or the system's, is a failure."""
    try:
        return check()
    except WardroundError as error:
        detail = f"{error.where}: {error.problem}" if error.where else error.problem
        return Finding("failure", what, detail, error.remedy)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "Is it there, and may this user read it?"
        return Finding("failure", what, f"{where}{error.strerror or error}", remedy)


def disk_space(folder: Path) -> Finding:
    """Say how much room a folder's disk has."""
    free = shutil.disk_usage(folder).free
    state: State = "failure" if free < LEAST_DISK else "warning" if free < LITTLE_DISK else "ok"
    return Finding(state, "disk", f"{free / GIB:.0f} GiB free", None if state == "ok" else "Make room.")


def show_findings(findings: Iterable[Finding]) -> int:
    """Print each finding as it comes, with what to do; returns the number of failures."""
    from rich.console import Console  # noqa: PLC0415  (a third of a second, and only checks need it)
    from rich.markup import escape  # noqa: PLC0415

    console = Console()
    failures = 0
    for finding in findings:
        colour = _COLOURS[finding.state]
        text = (
            f"[{colour}]{finding.state:<8}[/] {escape(finding.what):<12} {escape(printable(finding.detail))}"
        )
        console.print(text, soft_wrap=True, highlight=False)
        if finding.remedy:
            console.print(f"{'':<22}{escape(printable(finding.remedy))}", soft_wrap=True, highlight=False)
        failures += finding.state == "failure"
    return failures
