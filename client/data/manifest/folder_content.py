"""What a folder without a manifest holds, whatever convention it follows, and what the conventions share."""

from collections.abc import Mapping, Sequence
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


def joined(folder: Path, parts: Mapping[Path, tuple[str, Folder]], column: str, what: str) -> Folder:
    """Return what the folders inside of a folder hold as one, with a further column.

    Args:
        folder: In which they lie.
        parts: The value of the column, and what is there, for each of them.
        column: Such as `site` or `split`.
        what: Each of the folders is for.

    Raises:
        DataError: They don't follow the same convention.
    """
    found = [own for _, own in parts.values()]
    kinds = list(dict.fromkeys(own.kind for own in found))
    if len(kinds) > 1 or any(own.rows[0].keys() != found[0].rows[0].keys() for own in found):
        raise DataError(f"has not the same in each {what}", where=folder, remedy=REMEDY)
    files = (*found[0].columns, "mask")
    rows = [
        {column: value, **row, **{file: f"{path.name}/{row[file]}" for file in files if file in row}}
        for path, (value, own) in parts.items()
        for row in own.rows
    ]
    classes = found[0].classes
    if "label" in rows[0]:
        classes = dict(enumerate(sorted({name for own in found for name in own.classes.values()}), 1))
    elif any(own.classes != classes for own in found):
        raise DataError(f"has other classes of masks in each {what}", where=folder, remedy=REMEDY)
    return Folder(
        f"{kinds[0]}, in a folder for each {what}",
        rows,
        found[0].columns,
        classes=classes,
        cases=[case for own in found for case in own.cases],
        whose=[patient for own in found for patient in own.whose],
    )


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


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
