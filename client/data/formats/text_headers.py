"""Headers of MetaImage and NRRD, which are text: looked at before ITK reads them, which trusts them."""

import re
from collections.abc import Iterator
from pathlib import Path

from client.data.formats.data_length import require_metaimage_data, require_nrrd_data
from shared.errors import DataError
from shared.text.names import shown

ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")
_LONGEST = 2**16  # bytes of a header
_LONGEST_LINE = 1000
_DATA_FILE = re.compile(
    rb"(?:ElementDataFile\s*[=:]|^data ?file:)[ \t]*([^\r\n]*)", re.MULTILINE | re.IGNORECASE
)
_END = re.compile(rb"^ElementDataFile|^\r?\n", re.MULTILINE)  # of MetaImage, of NRRD
_BLANK = re.compile(rb"\r?\n\r?\n")
_FREE_TEXT = re.compile(rb"#|[^:]+:=")
_FAR = 1e12  # mm
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\bnan\b|\binf(?:inity)?\b", re.IGNORECASE)
_REMEDY = "Its header is damaged: export it again."
_VECTORS = ("DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation")
_SPACES = {  # of NRRD: the patient's axes
    *("left-posterior-superior", "right-anterior-superior", "left-anterior-superior"),
    *("lps", "ras", "las"),
}
_MILLIMETRES = ("mm", "millimeter", "millimeters", "?", "")
_UNSCALED = {"ElementToIntensityFunctionSlope": 1.0, "ElementToIntensityFunctionOffset": 0.0}
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_PLACE = re.compile(  # of MetaImage; of NRRD
    rb"(?:Element(?:Spacing|Size)|Offset|Position|Origin|CenterOfRotation|TransformMatrix|Rotation|Orientation)\b"
    rb"|space|spacings|axis mins|axis maxs|thicknesses|measurement frame",
    re.IGNORECASE,
)


def data_files(path: Path) -> list[Path]:
    """Return the files that a header names for its numbers.

    Raises:
        DataError: One does not lie in the header's folder, or the header names a pattern or a list.
    """
    head, files = _head(path), []
    _require_fields(head, path)
    for match in _DATA_FILE.finditer(head):
        name = match[1].decode(errors="replace").strip()
        if name.upper() == "LOCAL":
            continue
        file = path.parent / name
        if "%" in name or file.parent != path.parent or not file.is_file():  # ITK takes % for C's printf
            raise DataError(
                f"names '{shown(name)}' for its numbers, which is not a file of its folder",
                where=path,
                remedy="Put both files into one folder, or save them as one (.mha, .nrrd).",
            )
        files.append(file)
    return files


def require_metaimage(path: Path) -> None:
    """Refuse a header of MetaImage with more or fewer numbers than its axes have.

    Raises:
        DataError: It has.
    """
    fields = dict(_fields(path))
    axes = fields.get("NDims", "")
    if not re.fullmatch("[234]", axes):
        raise DataError(f"says that it has '{shown(axes)}' axes, which are 2 to 4", where=path)
    if not _DATA_FILE.search(_head(path)):
        raise DataError("does not say where its numbers are (ElementDataFile)", where=path)
    counts = dict.fromkeys(_VECTORS, int(axes)) | dict.fromkeys(_MATRICES, int(axes) ** 2)
    for name in counts.keys() & fields.keys():
        if (found := len(fields[name].split())) != counts[name]:
            raise DataError(
                f"has {found} numbers in {name}, where {axes} axes need {counts[name]}",
                where=path,
                remedy=_REMEDY,
            )
    head = _head(path)
    place = _DATA_FILE.search(head)
    assert place is not None  # noqa: S101 (looked for above)
    begin = head.find(b"\n", place.end()) + 1
    require_metaimage_data(path, fields, begin, next(iter(data_files(path)), None))


def says_its_place(path: Path) -> bool:
    """Say whether a header says how its axes lie in the patient; ITK takes a default where it does not.

    Raises:
        DataError: It says it in other axes than the patient's or another unit than mm, or that its numbers
            mean others: ITK passes over all three.
    """
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        fields = {name.lower(): value for name, value in _fields(path)}
        units = re.findall('"([^"]*)"', fields.get("space units", ""))
        space = fields.get("space", "").lower()
        if "space directions" in fields and space not in _SPACES:
            raise DataError(
                f"says its directions in the space '{shown(space)}', not in the patient's axes",
                where=path,
                remedy="Save it in left-posterior-superior.",
            )
        end = _BLANK.search(_head(path))
        require_nrrd_data(path, fields, end.end() if end else 0, next(iter(data_files(path)), None))
        there = "space directions" in fields
    else:
        own = dict(_fields(path))
        units = [own["DistanceUnits"]] if "DistanceUnits" in own else []
        scale = {name: own[name] for name in _UNSCALED.keys() & own.keys()}
        if any(float(text) != _UNSCALED[name] for name, text in scale.items()):
            said = ", ".join(f"{name} {shown(text)}" for name, text in sorted(scale.items()))
            raise DataError(
                f"scales its numbers ({said}), which is not read",
                where=path,
                remedy="Save the scaled numbers.",
            )
        there = bool({"TransformMatrix", "Rotation", "Orientation"} & own.keys())
    if other := [unit for unit in units if unit.lower() not in _MILLIMETRES]:
        raise DataError(
            f"gives its lengths in '{shown(other[0])}', not in mm", where=path, remedy="Save it in mm."
        )
    return there


def _require_fields(head: bytes, path: Path) -> None:
    """Refuse fields whose length ITK copies without looking at it, and places with which it never ends."""
    for line in _END.split(head)[0].splitlines():
        if _FREE_TEXT.match(line):
            continue
        if len(line) > _LONGEST_LINE:
            raise DataError(f"has a line of {len(line)} bytes in its header", where=path)
        if _PLACE.match(line) and (
            far := [text for text in _NUMBER.findall(line) if not abs(float(text)) < _FAR]
        ):
            raise DataError(
                f"has {shown(far[0].decode())} in its header, where millimetres stand",
                where=path,
                remedy=_REMEDY,
            )


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    for line in _END.split(_head(path))[0].splitlines():
        name, separator, value = line.decode(errors="replace").replace(":", "=", 1).partition("=")
        if separator:
            yield name.strip(), value.strip()


def _head(path: Path) -> bytes:
    if path.suffix.lower() not in ENDINGS:
        return b""
    with path.open("rb") as file:
        return file.read(_LONGEST)
