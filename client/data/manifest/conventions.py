"""Folders without a manifest: what lies in them by common conventions, as the rows of one."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.data.manifest.bids import is_bids, read_bids
from client.data.manifest.csv_files import is_there, normal
from client.data.manifest.folder_content import (
    REMEDY,
    Folder,
    below,
    is_image,
    joined,
    require_none,
    stem,
    subfolders,
)
from shared.errors import DataError
from shared.text.names import shown

_CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net: CASE_0000 is the first channel of CASE
_NUMBER = re.compile(r"(.+?)[_-]\d+")
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr")
_MASK_FOLDERS = ("masks", "labels", "annotations", "segmentations", "mask", "label", "labelstr")
_SIDES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_MASK_WORDS = ("", "_mask", "-mask", "_seg", "-seg", "_segmentation", "_label")


def read_folder(folder: Path, masks: str | None = None) -> Folder:
    """Return what a folder holds: BIDS, nnU-Net, Decathlon, images with masks, or classes, of all hospitals.

    Args:
        folder: The folder.
        masks: BIDS: what the paths of the masks have in common, where there are several kinds.

    Raises:
        DataError: It follows no known convention, or not in every file.
    """
    if not folder.is_dir():
        raise DataError("is not a folder", where=folder)
    if is_bids(folder):
        return read_bids(folder, masks)
    return (
        _pairs_of_folders(folder)
        or _sides(folder)
        or _single_masks(folder)
        or _hospitals(folder)
        or _masks_beside_images(folder)
        or _class_folders(folder)
    )


def _pairs_of_folders(folder: Path) -> Folder | None:
    """Read nnU-Net, Decathlon, or images beside masks; None where it is none of them."""
    if (folder / "dataset.json").is_file():
        facts = _facts(folder / "dataset.json")
        return _nnunet(folder, facts) or _decathlon(folder, facts)
    images = _image_folder(folder)
    return None if images is None else _nnunet(folder, {}) or _images_and_masks(folder, images)


def patients(found: Folder, pattern: str | None) -> list[str]:
    """Return the patient of each row.

    With a pattern: its first group, or all that it matches, in the path of the image. Without: whom the
    convention names (nnU-Net, Decathlon: the case; otherwise the folder between). Otherwise the file's
    name without the number behind its last `_` or `-`; where that would make one patient of all, the whole
    name.

    Raises:
        DataError: The pattern is none, or matches nothing in a path.
    """
    paths = [row[found.columns[0]] for row in found.rows]
    if pattern is not None:
        return [_matched(pattern, path) for path in paths]
    short = [match[1] if (match := _NUMBER.fullmatch(case)) else case for case in found.cases]
    names = short if len(set(short)) > 1 else found.cases
    return [own or name for own, name in zip(found.whose, names, strict=True)]


def _matched(pattern: str, path: str) -> str:
    try:
        match = re.search(pattern, path)
    except re.error as error:
        raise DataError(f"'{pattern}' is not a regular expression: {error}", where="--patient") from None
    name = (match[1] if match.re.groups else match[0]) if match else ""
    if not name:
        raise DataError(f"'{pattern}' finds no patient in '{path}'", where="--patient")
    return name


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"can't be read: {error}", where=path) from None
    if not isinstance(facts, dict):
        raise DataError("is not an object of JSON", where=path)
    return facts


def _nnunet(folder: Path, facts: dict[str, Any]) -> Folder | None:
    """Read imagesTr/CASE_0000.EXT, ..., labelsTr/CASE.EXT; None where files have no channels' numbers."""
    labels = {stem(path.name): path for path in _images(folder / "labelsTr")}
    cases: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in _images(folder / "imagesTr"):
        name = stem(path.name)
        match = _CHANNEL.fullmatch(name)
        if match is None or name in labels:
            return None
        cases[match[1]][match[2]] = path
    if not cases:
        return None
    _require_pairs(folder, cases, labels)
    numbers = sorted({number for channels in cases.values() for number in channels})
    require_none(
        "have not all channels", [case for case, own in cases.items() if len(own) < len(numbers)], folder
    )
    columns = ("image",) if len(numbers) == 1 else tuple(f"image_{number}" for number in numbers)
    rows = []
    for case, channels in sorted(cases.items()):
        files = (below(folder, channels[number]) for number in numbers)
        rows.append({**dict(zip(columns, files, strict=True)), "mask": below(folder, labels[case])})
    names = sorted(cases)
    return Folder("nnU-Net", rows, columns, _classes(facts), names, list(names))


def _decathlon(folder: Path, facts: dict[str, Any]) -> Folder:
    """Read the pairs that `dataset.json` lists under `training`."""
    where = folder / "dataset.json"
    pairs = facts.get("training")
    if not isinstance(pairs, list) or not pairs:
        raise DataError(
            "lists no 'training', and the files of imagesTr are not CASE_0000 beside labelsTr/CASE",
            where=where,
            remedy=REMEDY,
        )
    rows, cases = [], []
    for pair in pairs:
        files = [pair.get(key) for key in ("image", "label")] if isinstance(pair, dict) else []
        names = [file for file in files if isinstance(file, str)]
        if len(names) != 2:
            raise DataError("has a training case without image and label", where=where)
        image, mask = (_listed(folder, name, where) for name in names)
        rows.append({"image": image, "mask": mask})
        cases.append(stem(Path(image).name))
    return Folder("Medical Segmentation Decathlon", rows, ("image",), _classes(facts), cases, list(cases))


def _listed(folder: Path, name: str, where: Path) -> str:
    """Return a file that `dataset.json` names, relative to the folder; it must lie in it."""
    path = folder / name
    if not is_there(path) or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"names '{shown(name)}', which is not in the folder", where=where)
    return Path(name).as_posix()


def _sides(folder: Path) -> Folder | None:
    """Read train/, val/ and test/, each of which follows a convention by itself; None where it is not so."""
    parts = {path: _SIDES.get(path.name.lower()) for path in subfolders(folder)}
    sides = {path: side for path, side in parts.items() if side}
    if len(sides) != len(parts) or len(sides) < 2 or _images(folder):
        return None
    found = {path: (side, _side(path)) for path, side in sides.items()}
    return joined(folder, found, "split", "side of the split")


def _side(folder: Path) -> Folder:
    return (
        _pairs_of_folders(folder)
        or _single_masks(folder)
        or _masks_beside_images(folder)
        or _labelled(folder)
    )


def _single_masks(folder: Path) -> Folder | None:
    """Read CASE/images/NAME.EXT, one image a case, beside the masks of its objects in CASE/masks.

    So lie the cells of the Data Science Bowl 2018. None where a folder has another number of images, or all
    of them have one mask of the image's own name.
    """
    parts = subfolders(folder)
    cases = [(part, _image_folder(part), _mask_folders(part)) for part in parts]
    if not cases or _images(folder) or not all(called and len(masks) == 1 for _, called, masks in cases):
        return None
    rows, paired = [], []
    for part, called, masks in cases:
        images, objects = _images(part / str(called)), _images(part / masks[0])
        if len(images) != 1 or not objects:
            return None
        paired.append([stem(path.name) for path in objects] == [stem(images[0].name)])
        rows.append({"image": below(folder, images[0]), "mask": below(folder, part / masks[0])})
    if all(paired):
        return None
    names = [part.name for part in parts]
    return Folder("a folder for each image, with a mask for each object", rows, cases=names, whose=[*names])


def _hospitals(folder: Path) -> Folder | None:
    """Read HOSPITAL/images beside HOSPITAL/masks, nnU-Net or Decathlon, or HOSPITAL/CLASS/NAME.EXT.

    None where it is not so.

    Folders of classes have the same names at two hospitals or more, none of which has a digit: those of
    patients are numbered.
    """
    parts = subfolders(folder)
    if len(parts) < 2 or _images(folder):
        return None
    if all(map(_image_folder, parts)):
        found = {part: own for part in parts if (own := _pairs_of_folders(part))}
    elif _have_classes(parts):
        found = {part: _labelled(part) for part in parts}
    else:
        return None
    return joined(folder, {part: (normal(part.name), own) for part, own in found.items()}, "site", "hospital")


def _have_classes(parts: Iterable[Path]) -> bool:
    names = Counter(inner.name for part in parts for inner in subfolders(part))
    numbered = any(map(str.isdigit, "".join(names)))
    return max(names.values(), default=0) > 1 and not numbered and not any(map(_images, parts))


def _image_folder(folder: Path) -> str | None:
    return next(iter(_called(folder, _IMAGE_FOLDERS)), None)


def _called(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the folders in a folder that have one of some names, in small or capital letters."""
    found = [
        (names.index(name), part.name) for part in subfolders(folder) if (name := part.name.lower()) in names
    ]
    return [name for _, name in sorted(found)]


def _images_and_masks(folder: Path, called: str) -> Folder:
    """Read images/NAME.EXT with masks/NAME.EXT or NAME_mask.EXT; subfolders must be the same in both."""
    beside = _mask_folders(folder)
    if len(beside) != 1:
        found = " and ".join(f"'{name}'" for name in beside) or "no folder of masks"
        raise DataError(f"has {found} beside '{called}'", where=folder, remedy=REMEDY)
    images = _by_name(folder / called)
    if (objects := _folders_of_masks(folder / beside[0], images)) is not None:
        rows = [
            {"image": below(folder, path), "mask": below(folder, objects[name])}
            for name, path in sorted(images.items())
        ]
        how = f"{called} and a folder of masks for each"
        return Folder(how, rows, cases=_cases(images), whose=_folders_between(images))
    masks = _by_name(folder / beside[0])
    fitting = {name: [name + word for word in _MASK_WORDS if name + word in masks] for name in images}
    used = {own[0] for own in fitting.values() if own}
    require_none("are masks without an image", [name for name in masks if name not in used], folder)
    rows = _pairs(folder, images, masks, fitting)
    return Folder(f"{called} and {beside[0]}", rows, cases=_cases(images), whose=_folders_between(images))


def _mask_folders(folder: Path) -> list[str]:
    return _called(folder, _MASK_FOLDERS)


def _folders_of_masks(folder: Path, images: Iterable[str]) -> dict[str, Path] | None:
    """Return NAME -> masks/NAME, a folder with the mask of each object; None where an image has none."""
    found = {name: folder / name for name in images}
    return found if found and all(path.is_dir() and _images(path) for path in found.values()) else None


def _masks_beside_images(folder: Path) -> Folder | None:
    """Read NAME.EXT with NAME_mask.EXT beside it, in folders of patients or of classes; None without such.

    Folders whose names have no digit are taken for classes: those of patients are numbered.
    """
    files = _by_name(folder)
    fitting = {name: [name + word for word in _MASK_WORDS[1:] if name + word in files] for name in files}
    masks = {mask for own in fitting.values() for mask in own}
    if not masks:
        return None
    images = {name: path for name, path in files.items() if name not in masks}
    rows = _pairs(folder, images, files, {name: fitting[name] for name in images})
    whose = _folders_between(images)
    between = {name for name in whose if name}
    if len(between) > 1 and None not in whose and not any(map(str.isdigit, "".join(between))):
        rows = [{**row, "label": normal(name or "")} for row, name in zip(rows, whose, strict=True)]
        whose = [None] * len(rows)
    return Folder("masks beside their images", rows, cases=_cases(images), whose=whose)


def _pairs(
    folder: Path, images: Mapping[str, Path], masks: Mapping[str, Path], fitting: Mapping[str, list[str]]
) -> list[dict[str, str]]:
    """Return the rows of images and masks, in the order of the images' names; each image has one mask."""
    require_none("have several masks", [name for name, own in fitting.items() if len(own) > 1], folder)
    require_none("have no mask", [name for name, own in fitting.items() if not own], folder)
    return [
        {"image": below(folder, path), "mask": below(folder, masks[fitting[name][0]])}
        for name, path in sorted(images.items())
    ]


def _cases(images: Iterable[str]) -> list[str]:
    return [Path(name).name for name in sorted(images)]


def _folders_between(images: Iterable[str]) -> list[str | None]:
    return [Path(name).parent.as_posix() if "/" in name else None for name in sorted(images)]


def _class_folders(folder: Path) -> Folder:
    """Read CLASS/NAME.EXT or CLASS/PATIENT/NAME.EXT of several classes, beside which lies no image."""
    if len(subfolders(folder)) < 2:
        raise DataError("follows no known convention", where=folder, remedy=REMEDY)
    return _labelled(folder)


def _labelled(folder: Path) -> Folder:
    """Read CLASS/NAME.EXT or CLASS/PATIENT/NAME.EXT of one class or more."""
    found = {normal(part.name): _by_name(part) for part in subfolders(folder)}
    if paired := _called(folder, (*_IMAGE_FOLDERS, *_MASK_FOLDERS)):
        problem = f"has a folder '{paired[0]}', which is not a class, and there are not both images and masks"
        raise DataError(problem, where=folder, remedy=REMEDY)
    if not found or not all(found.values()) or _images(folder):
        raise DataError("follows no known convention", where=folder, remedy=REMEDY)
    rows, cases, whose = [], [], []
    for label, files in found.items():
        for name, path in sorted(files.items()):
            rows.append({"image": below(folder, path), "label": label})
            cases.append(Path(name).name)
            whose.append(Path(name).parent.as_posix() if "/" in name else None)
    return Folder("a folder for each class", rows, ("image",), dict(enumerate(found, 1)), cases, whose)


def _classes(facts: dict[str, Any]) -> dict[int, str]:
    """Return value -> name from `labels`, which nnU-Net 2 writes the other way round than the Decathlon."""
    labels = facts.get("labels")
    named: dict[int, str] = {}
    for key, value in labels.items() if isinstance(labels, dict) else ():
        number, name = (key, value) if str(key).isdecimal() else (value, key)
        if not str(number).isdecimal() or not isinstance(name, str):
            return {}  # regions, which are several values
        named[int(number)] = name
    return {number: name for number, name in sorted(named.items()) if number}


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_image(path.name)) if folder.is_dir() else []


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images below a folder by their path without its ending."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_image(path.name)]
    names = [(path.parent / stem(path.name)).relative_to(folder).as_posix() for path in files]
    twice = [name for name, count in Counter(names).items() if count > 1]
    require_none("are there with several endings", twice, folder)
    return dict(zip(names, files, strict=True))


def _require_pairs(folder: Path, cases: Iterable[str], labels: Iterable[str]) -> None:
    images, masks = set(cases), set(labels)
    require_none("have no mask in labelsTr", sorted(images - masks), folder)
    require_none("are masks without an image in imagesTr", sorted(masks - images), folder)
