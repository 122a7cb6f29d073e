"""What a check of an installation found."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.errors import WardroundError

GIB = 2**30
LEAST_DISK, LITTLE_DISK = 1 * GIB, 10 * GIB
State = Literal["ok", "warning", "failure"]


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
