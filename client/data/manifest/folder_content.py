"""What a folder without a manifest holds, whatever convention it follows, and what the conventions share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from client.data.images.readers import ENDINGS
from shared.errors import DataError

EXAMPLES = 3
REMEDY = "See docs/data.md for the folders that are known, or write a manifest.csv by hand."


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        kind: The convention that it follows.
        rows: Of a manifest, all with the same columns; paths are relative to the folder.
        columns: Those that hold images.
        classes: Names that the folder gives, or none: value of a mask -> name; of folders, their order.
        cases: Of each row: its name, without its ending.
        whose: Of each row: the patient, where the convention says who it is.
    """

    kind: str
    rows: list[dict[str, str]]
    columns: tuple[str, ...] = ("image",)
    classes: dict[int, str] = field(default_factory=dict)
    cases: list[str] = field(default_factory=list)
    whose: list[str | None] = field(default_factory=list)


def is_image(name: str) -> bool:
    """Say if a file's name ends as one that is read."""
    return not name.startswith(".") and name.lower().endswith(ENDINGS)


def stem(name: str) -> str:
    """Return a name without the ending of an image."""
    ending = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len)
    return name[: -len(ending)]


def below(folder: Path, path: Path) -> str:
    """Return a path relative to the folder, as a manifest has it."""
    return path.relative_to(folder).as_posix()


def require_none(problem: str, names: Sequence[str], where: Path, remedy: str | None = None) -> None:
    """Raise a DataError that names the first of those that have a problem."""
    if names:
        more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
        raise DataError(f"{', '.join(names[:EXAMPLES])}{more} {problem}", where=where, remedy=remedy)
