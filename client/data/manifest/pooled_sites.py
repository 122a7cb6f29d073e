"""The rows of one or several hospitals as one dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.data.manifest.rows import Manifest, Record, manifest_path, scan_manifest
from client.data.manifest.splits import Split
from shared.errors import DataError


@dataclass(frozen=True)
class Part:
    """The rows that one hospital has, or all rows of a manifest.

    Attributes:
        manifest: The CSV, or the folder that holds it.
        split: Says on which side a patient is.
        value: Take the rows whose column `site` has this value; None takes all.
        name: What the hospital is called; None calls it what the column `site` says.
    """

    manifest: Path
    split: Split
    value: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Row:
    """A record, and what is known of it before its files are read.

    Attributes:
        record: With the hospital's name as its site.
        manifest: It is from.
        side: Of the split.
        where: How a person finds it among all rows.
    """

    record: Record
    manifest: Manifest
    side: str
    where: str


@dataclass(frozen=True)
class Rows:
    """All rows of the parts.

    Attributes:
        path: Of the first manifest.
        columns: That all manifests have.
        problems: Of rows that can't be used.
    """

    path: Path
    rows: list[Row]
    columns: frozenset[str]
    problems: list[DataError]


def read_parts(
    parts: Sequence[Part],
    images: Sequence[str],
    needs: Sequence[str],
    fold: tuple[int | None, int] = (None, 1),
    *,
    may_lack_images: bool = False,
    may_lack_masks: bool = False,
) -> Rows:
    """Read the manifests of the parts, each once.

    Args:
        parts: At least one.
        images: The columns that hold the image's files.
        needs: Further columns that the task needs.
        fold: Which fold validates, None takes the split's own validation patients; and how folds are drawn.
        may_lack_images: A row may have no image.
        may_lack_masks: A row may have no mask.

    Raises:
        DataError: A manifest is missing, has no rows (of a site) or lacks a column.
        JobError: A split has fewer folds.
    """
    paths = [manifest_path(part.manifest) for part in parts]
    manifests = {
        path: scan_manifest(
            path, images, needs, may_lack_images=may_lack_images, may_lack_masks=may_lack_masks
        )
        for path in dict.fromkeys(paths)
    }
    sides = {  # many parts may share a manifest and how it is split
        (path, split): _by_row(manifests[path], split.sides(manifests[path].records, *fold))
        for path, split in {(path, part.split) for part, path in zip(parts, paths, strict=True)}
    }
    rows = [
        row
        for part, path in zip(parts, paths, strict=True)
        for row in _rows(part, manifests[path], sides[path, part.split], alone=len(manifests) == 1)
    ]
    if len(manifests) == 1:  # in the order of the file, whatever the hospitals' names
        rows.sort(key=lambda row: row.record.row)
    return Rows(
        paths[0],
        rows,
        frozenset.intersection(*(frozenset(found.columns) for found in manifests.values())),
        [problem for found in manifests.values() for problem in found.problems],
    )


def _by_row(manifest: Manifest, sides: Sequence[str]) -> dict[int, str]:
    return {record.row: side for record, side in zip(manifest.records, sides, strict=True)}


def _rows(part: Part, manifest: Manifest, sides: Mapping[int, str], *, alone: bool) -> list[Row]:
    """Return the rows of a part; a row's number finds it where there is one manifest `alone`."""
    rows = []
    for record in (manifest.of_site(part.value) if part.value else manifest).records:
        named = replace(record, site=part.name) if part.name else record
        where = str(record.row) if alone else f"{record.row} of {named.site or manifest.path.stem}"
        rows.append(Row(named, manifest, sides[record.row], where))
    return rows
