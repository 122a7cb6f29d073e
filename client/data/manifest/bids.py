"""BIDS folders as the rows of a manifest: the images of subjects, sessions and runs, masks of derivatives.

Brain Imaging Data Structure 1.10; of derivatives, "Imaging data types: masks and segmentations".
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from client.data.manifest.csv_files import read_table
from client.data.manifest.folder_content import REMEDY, Folder, below, is_image, require_none, stem
from shared.errors import DataError

_MASKS = ("dseg", "mask")
_OF_MASKS = {"space", "res", "den", "label", "desc", "suffix"}  # entities that derivatives add
_OF_CASE = ("sub", "ses", "run")
_SOURCES = {"orig", "T1w", "T2w", "FLAIR"}  # spaces in which a mask lies on an image as it was taken
_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
_OWN = {"patient", "mask", "session", "run"}
_NOT_THERE = "n/a"

Case = tuple[str, str, str]
"""(subject, session, run); session and run may be empty."""


@dataclass(frozen=True)
class _File:
    path: Path
    entities: dict[str, str]  # with its "suffix"

    @property
    def case(self) -> Case:
        subject, session, run = (self.entities.get(name, "") for name in _OF_CASE)
        return subject, session, run

    @property
    def datatype(self) -> str:
        return self.path.parent.name

    def named(self, without: Iterable[str]) -> str:
        """Return the entities that are left, as a file's name has them: 'acq-a_T1w'."""
        kept = [
            f"{name}-{value}" for name, value in self.entities.items() if name not in {*without, "suffix"}
        ]
        return "_".join([*kept, self.entities["suffix"]])


def is_bids(folder: Path) -> bool:
    """Say if a folder says that it follows BIDS, or has its subjects."""
    files = ("dataset_description.json", "participants.tsv")
    return any((folder / name).is_file() for name in files) and any(_subjects(folder))


def read_bids(folder: Path, masks: str | None = None) -> Folder:
    """Return a row per subject, session and run; suffixes and other entities (T1w, acq-a_T2w) are channels.

    Images are those of the folder in which the masks lie (`anat`, say), or else of `anat`. A mask must lie in
    the space of its image. The columns of participants.tsv are kept.

    Args:
        folder: Has a folder `sub-LABEL` for each subject.
        masks: What the paths of the masks have in common, where there are several kinds.

    Raises:
        DataError: A file is a link to what is not there, a case lacks a channel or its mask, or it is not
            clear which of several masks is meant.
    """
    files = list(_files(folder))
    targets = [file for file in files if file.entities["suffix"] in _MASKS and _lies_on_image(file)]
    if masks is not None:
        targets = [file for file in targets if masks in below(folder, file.path)]
        if not targets:
            raise DataError(f"has no mask with '{masks}' in its path", where=folder, remedy=REMEDY)
    datatype = _datatype(files, targets, folder)
    images = [
        file
        for file in files
        if file.datatype == datatype
        and not file.entities["suffix"].endswith(("mask", "dseg"))
        and "derivatives" not in file.path.relative_to(folder).parts
    ]
    cases = _cases(images, folder)
    channels = sorted({channel for found in cases.values() for channel in found})
    lacking = [_name(case) for case, found in cases.items() if len(found) < len(channels)]
    require_none(
        f"have not all of {', '.join(channels)}", lacking, folder, "Move what is not used elsewhere."
    )
    columns = ("image",) if len(channels) == 1 else tuple(f"image_{channel}" for channel in channels)
    of_case, classes = _masks(targets, cases, folder)
    about = _participants(folder, {*columns, *_OWN})
    rows = []
    for case, found in sorted(cases.items()):
        row = {
            column: below(folder, found[channel].path)
            for column, channel in zip(columns, channels, strict=True)
        }
        row |= {"mask": of_case[case]} if targets else {}
        row |= {name: case[at] for at, name in ((1, "session"), (2, "run")) if any(one[at] for one in cases)}
        rows.append(row | about.of(case[0]))
    names = [_name(case) for case in sorted(cases)]
    return Folder("BIDS", rows, columns, classes, names, [f"sub-{case[0]}" for case in sorted(cases)])


def _subjects(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("sub-*") if path.is_dir())


def _files(folder: Path) -> Iterator[_File]:
    """Yield the images and masks of all subjects, also those of `derivatives/PIPELINE/`."""
    roots = [
        folder,
        *sorted(path for path in folder.glob("derivatives/*") if path.is_dir()),
        folder / "derivatives",
    ]
    for subject in (subject for root in roots for subject in sorted(_subjects(root))):
        for path in sorted(subject.rglob("*")):
            if not is_image(path.name) or path.is_dir():
                continue
            if not path.exists():
                raise DataError(
                    "is a link to a file that is not there", where=path, remedy="Get it first: 'datalad get'."
                )
            *parts, suffix = stem(path.name).split("_")
            matches = [_ENTITY.fullmatch(part) for part in parts]
            entities = {match[1]: match[2] for match in matches if match}
            if not all(matches) or entities.get("sub") != subject.name.removeprefix("sub-"):
                raise DataError("has a name that is not of BIDS", where=path, remedy=REMEDY)
            yield _File(path, {**entities, "suffix": suffix})


def _lies_on_image(file: _File) -> bool:
    return file.entities.get("space", "orig") in _SOURCES and "res" not in file.entities


def _datatype(files: list[_File], targets: list[_File], folder: Path) -> str:
    """Return the folder of the images: that of the masks, or `anat`, or the only one."""
    found = sorted({file.datatype for file in targets or files})
    if not targets and "anat" in found:
        return "anat"
    if len(found) != 1:
        what = f"has images or masks in {', '.join(found)}" if found else "has no images"
        raise DataError(what, where=folder, remedy="Choose with --masks, or write a manifest.csv by hand.")
    return found[0]


def _cases(images: list[_File], folder: Path) -> dict[Case, dict[str, _File]]:
    """Return the images of each case by channel."""
    cases: dict[Case, dict[str, _File]] = defaultdict(dict)
    for file in images:
        channel = file.named(_OF_CASE)
        if channel in cases[file.case]:
            raise DataError(f"has {_name(file.case)} twice as {channel}", where=folder, remedy=REMEDY)
        cases[file.case][channel] = file
    if not cases:
        raise DataError("has masks, but no images", where=folder, remedy=REMEDY)
    return cases


def _masks(
    targets: list[_File], cases: Iterable[Case], folder: Path
) -> tuple[dict[Case, str], dict[int, str]]:
    """Return the mask of each case, one file or one for each label, and the names of the classes."""
    found: dict[Case, dict[str, _File]] = defaultdict(dict)
    kinds = {_kind(file, folder) for file in targets}
    if len(kinds) > 1:
        listed = ", ".join(f"'{kind.rpartition('/')[2]}' ({kind})" for kind in sorted(kinds))
        raise DataError(
            f"has {len(kinds)} kinds of masks: {listed}", where=folder, remedy="Say which with --masks."
        )
    for file in targets:
        fitting = [case for case in cases if _fits(file.case, case)]
        label = file.entities.get("label", "")
        if len(fitting) != 1 or label in found[fitting[0]]:
            what = (
                "several images"
                if len(fitting) > 1
                else "no image"
                if not fitting
                else "an image with a mask"
            )
            raise DataError(f"is a mask of {what}", where=file.path, remedy=REMEDY)
        found[fitting[0]][label] = file
    labels = sorted({label for own in found.values() for label in own})
    lacking = [_name(case) for case in cases if len(found[case]) < len(labels)] if targets else []
    require_none(
        "have no mask, or not of every label", lacking, folder, "Leave them out, or add an empty mask."
    )
    paths = {
        case: "|".join(below(folder, own[label].path) for label in labels) for case, own in found.items()
    }
    if any(labels):
        return paths, dict(enumerate(labels, 1))
    return paths, _names_of_values(folder, targets)


def _kind(file: _File, folder: Path) -> str:
    """Return which masks belong together: those of one pipeline that differ in nothing but their label."""
    pipeline = "/".join(
        part for part in below(folder, file.path).split("/")[:2] if not part.startswith("sub-")
    )
    of_mask = {name: value for name, value in file.entities.items() if name in _OF_MASKS - {"label"}}
    return f"{pipeline}/{_File(file.path, of_mask).named(())}"


def _fits(mask: Case, case: Case) -> bool:
    """Say if a mask is of a case; it may leave out session and run."""
    return mask[0] == case[0] and all(
        own in ("", other) for own, other in zip(mask[1:], case[1:], strict=True)
    )


def _names_of_values(folder: Path, targets: list[_File]) -> dict[int, str]:
    """Return value -> name as the table beside segmentations has it (`dseg.tsv`); {} where there is none."""
    if not targets or targets[0].entities["suffix"] != "dseg":
        return {}
    tables = sorted({path for file in targets for path in _above(file.path, folder)})
    if len(tables) != 1:
        return {}
    header, rows = read_table(tables[0])
    if not {"index", "name"} <= set(header):
        return {}
    at, named = header.index("index"), header.index("name")
    pairs = ((cells[at], cells[named]) for _, cells in rows if len(cells) == len(header))
    return {int(index): name for index, name in pairs if index.isascii() and index.isdigit() and int(index)}


def _above(path: Path, folder: Path) -> list[Path]:
    """Return the tables of values in the folders between a segmentation and the dataset."""
    parents = [parent for parent in path.parents if parent.is_relative_to(folder) and parent != folder]
    return [table for parent in parents for table in parent.glob("*dseg.tsv")]


@dataclass(frozen=True)
class _Participants:
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]

    def of(self, subject: str) -> dict[str, str]:
        """Return what the table says of a subject; empty cells where it says nothing."""
        empty = dict.fromkeys(self.columns, "")
        return empty | self.rows.get(f"sub-{subject}", {})


def _participants(folder: Path, taken: set[str]) -> _Participants:
    path = folder / "participants.tsv"
    if not path.is_file():
        return _Participants((), {})
    header, rows = read_table(path)
    if "participant_id" not in header:
        raise DataError("has no column 'participant_id'", where=path)
    columns = tuple(name for name in header if name != "participant_id")
    if clash := sorted(taken & set(columns)):
        raise DataError(
            f"has a column '{clash[0]}', which a manifest uses itself", where=path, remedy="Rename it."
        )
    found = {}
    for number, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"has {len(cells)} cells, but the header has {len(header)}", where=f"{path}, row {number}"
            )
        values = {name: "" if cell == _NOT_THERE else cell for name, cell in zip(header, cells, strict=True)}
        subject = values.pop("participant_id")
        found[subject if subject.startswith("sub-") else f"sub-{subject}"] = values
    return _Participants(columns, found)


def _name(case: Case) -> str:
    return "_".join(f"{name}-{value}" for name, value in zip(_OF_CASE, case, strict=True) if value)
