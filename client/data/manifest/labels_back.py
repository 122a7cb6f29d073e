"""Labels that somebody has given, taken into a copy of a manifest; what is there already stays."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.manifest.csv_files import by_column, read_table
from client.data.manifest.folder_content import is_image, stem
from client.data.manifest.joining import moved, write_rows
from client.data.manifest.rows import manifest_path
from shared.errors import DataError
from shared.text.names import suggestion

_RANK = re.compile(r"^\d{4}-")  # before the names of copies, see client.labelling.write


@dataclass(frozen=True)
class Taken:
    """What was written.

    Attributes:
        labels: Taken into rows that had none.
        same: Rows that had this label already.
        empty: Rows of the labels that are not filled in.
        left: Rows of the manifest that have no label yet.
    """

    path: Path
    labels: int
    same: int
    empty: int
    left: int


def take_labels(manifest: Path, labels: Path, out: Path, *, image: str = "image") -> Taken:
    """Write a manifest in which labels are filled in.

    Args:
        manifest: A manifest, or the folder that holds one.
        labels: A CSV with a column `label` and the manifest's column of images, such as a list that was
            filled in; or a folder of masks, each named as its image or as the copy of it in such a list.
        out: A new file.
        image: The column of the manifest by which rows are found.

    Raises:
        DataError: A file can't be read or written, a label belongs to no row or to several, or a row has
            another one.
    """
    path = manifest_path(manifest)
    header, table = read_table(path)
    if image not in header:
        raise DataError(f"has no column '{image}'; {suggestion(image, header)}", where=path)
    rows = [dict(zip(header, cells, strict=True)) for _, cells in table if len(cells) == len(header)]
    if len(rows) < len(table):
        raise DataError("has rows of another length than its header", where=path)
    column = "mask" if labels.is_dir() else "label"
    if labels.is_dir():
        given, empty = _of_masks(labels, rows, image, out.parent), 0
    else:
        given, empty = _of_table(labels, rows, image)
    before = {number: rows[number].get(column, "") for number in given}
    found = moved(rows, path.parent, out.parent)
    filled = same = 0
    for number, label in given.items():
        is_same = found[number].get(column, "") == label or before[number] == label
        if before[number] and not is_same:
            raise DataError(
                f"has the {column} '{before[number]}', and the labels say '{label}'",
                where=f"{path}, row {table[number][0]}",
                remedy="Take it out of one of the two; nothing was written.",
            )
        same += bool(before[number])
        filled += not before[number]
        found[number][column] = label
    columns = [*header, *([] if column in header else [column])]
    write_rows(out, columns, found)
    left = sum(not row.get(column) for row in found)
    return Taken(out, filled, same, empty, left)


def _of_table(labels: Path, rows: Sequence[Mapping[str, str]], image: str) -> tuple[dict[int, str], int]:
    """Return the label of rows by their place, and how many are not filled in."""
    header, table = read_table(labels)
    for name in (image, "label"):
        if name not in header:
            raise DataError(f"has no column '{name}'; {suggestion(name, header)}", where=labels)
    places = _places([row[image] for row in rows])
    given: dict[int, str] = {}
    empty = 0
    for one in table:
        number, own = one[0], by_column(header, one, labels)
        place = _one(places, own[image], f"{labels}, row {number}", f"the {image}")
        label = own["label"]
        if not label:
            empty += 1
        elif given.setdefault(place, label) != label:
            raise DataError(f"'{own[image]}' has two labels", where=f"{labels}, row {number}")
    return given, empty


def _of_masks(folder: Path, rows: Sequence[Mapping[str, str]], image: str, out: Path) -> dict[int, str]:
    """Return the mask of rows by their place, as it is named from where the new manifest lies."""
    places = _places([stem_of(Path(row[image]).name) for row in rows])
    given: dict[int, str] = {}
    for file in sorted(own for own in folder.iterdir() if own.is_file() and is_image(own.name)):
        name = stem(file.name)
        if name not in places:
            name = _RANK.sub("", name)
        place = _one(places, name, str(file), "the name")
        if place in given:
            raise DataError("is of an image that another file is of too", where=file)
        given[place] = Path(os.path.relpath(file.resolve(), out.resolve())).as_posix()
    if not given:
        raise DataError("holds no mask", where=folder)
    return given


def stem_of(name: str) -> str:
    """Return a name without the ending of an image, if it has one."""
    return stem(name) if is_image(name) else name


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        found[name].append(place)
    return dict(found)


def _one(places: Mapping[str, Sequence[int]], name: str, where: str, what: str) -> int:
    found = places.get(name, ())
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{what} '{name}' is in {len(found)} rows of the manifest", where=where)
    raise DataError(f"{what} '{name}' is in no row of the manifest; {suggestion(name, places)}", where=where)
