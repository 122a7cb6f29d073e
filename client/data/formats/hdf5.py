"""HDF5 files of k-space: opened so that nothing is read but what lies in the file itself."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.data.formats.limits import DEFLATED, require_fitting, require_plausible
from shared.errors import DataError

if TYPE_CHECKING:
    import h5py

HDF5 = (".h5", ".hdf5", ".mrd")
_PACKS_NOTHING = (2, 3)  # HDF5's numbers of two filters: bytes in another order, and a checksum
_HEADERS = ("dataset/xml", "ismrmrd_header")
_SPACE = r"<(?:\w+:)?{0}>(.*?)</(?:\w+:)?{0}>"
_NUMBER = r"<(?:\w+:)?{0}>\s*([0-9.eE+-]+)\s*</"


@dataclass(frozen=True)
class Space:
    """The encoded space of a measurement, and that of its image: x (the readout), y, z.

    Attributes:
        matrix: Samples along each axis.
        field_of_view: Millimetres of the image along each axis.
        read: Pixels of the image along the readout, which is often sampled more finely.
        centres: Numbers of the lines along y and z that lie in the middle of k-space.
    """

    matrix: tuple[int, int, int]
    field_of_view: tuple[float, float, float]
    read: int
    centres: tuple[int, int]


@contextmanager
def opened(path: Path) -> "Iterator[h5py.File]":
    """Open a file for reading.

    Raises:
        DataError: The package for it is missing.
        OSError: It is no HDF5.
    """
    try:
        import h5py  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        raise DataError(
            "needs the package h5py, which is not installed",
            where=path,
            remedy="pip install 'wardround[kspace]', or save the k-space as .npy.",
        ) from None
    with h5py.File(path, "r") as file:
        yield file


def is_acquisition(file: "h5py.File", path: Path) -> bool:
    """Say whether a file is ISMRMRD: a table of single lines.

    Raises:
        DataError: What should say so is a link. To look what a link leads to opens other files, and waits for
            ever where one of them is a pipe.
    """
    return _holds(file, "dataset", path) and _holds(file["dataset"], "data", path)


def _holds(group: Any, name: str, path: Path) -> bool:
    """Say whether a group has a member of this name, which lies in the file itself."""
    import h5py  # noqa: PLC0415 (an extra)

    if not isinstance(group, h5py.Group):
        return False
    link = group.get(name, getlink=True, default=None)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise DataError(f"'{name}' is a link, which is not followed", where=path)
    return link is not None


def dataset_in(file: "h5py.File", name: str, path: Path) -> Any:
    """Return a dataset by its name; nothing of another file is followed.

    Raises:
        DataError: It is not there, lies in another file, or claims more than the file can hold.
    """
    import h5py  # noqa: PLC0415 (an extra)

    group: Any = file
    for part in name.split("/"):
        if not _holds(group, part, path):
            raise DataError(f"has no '{name}'; it holds {', '.join(list(file)[:8]) or 'nothing'}", where=path)
        group = group[part]
    if not isinstance(group, h5py.Dataset) or group.is_virtual or group.external:
        raise DataError(f"'{name}' does not lie in the file itself", where=path)
    held, width = path.stat().st_size, group.dtype.itemsize
    require_plausible(path, group.shape, width, DEFLATED, held)
    if group.chunks is not None:  # one is unpacked whole, and may be larger than what is read of it
        require_plausible(path, group.chunks, width, DEFLATED, held)
        require_fitting(path, group.nbytes, math.prod(group.chunks) * width)
        if _times_packed(group) > 1:
            raise DataError(f"'{name}' is packed several times", where=path, remedy="Save it packed once.")
    return group


def _times_packed(dataset: "h5py.Dataset") -> int:
    """Return how many of a dataset's filters pack: what is packed twice is a million times smaller."""
    filters = dataset.id.get_create_plist()
    return sum(filters.get_filter(place)[0] not in _PACKS_NOTHING for place in range(filters.get_nfilters()))


def header_of(file: "h5py.File", path: Path) -> str:
    """Return the XML header of a file; nothing where it has none."""
    for name in _HEADERS:
        group, _, last = name.rpartition("/")
        if _holds(file, group or last, path) and (not group or _holds(file[group], last, path)):
            value = dataset_in(file, name, path)[()]
            value = value[0] if getattr(value, "shape", ()) else value
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return ""


def space_of(file: "h5py.File", path: Path) -> Space:
    """Return the space that a header tells.

    Raises:
        DataError: It tells none.
    """
    header = header_of(file, path)
    encoded, shown = (_within(header, name) for name in ("encodedSpace", "reconSpace"))
    if encoded is None:
        raise DataError("has no header with an encoded space", where=path)
    matrix = [int(number) for number in _triple(encoded, "matrixSize", path)]
    read = int(_triple(shown or encoded, "matrixSize", path)[0])
    view = list(_triple(encoded, "fieldOfView_mm", path))
    if read < matrix[0]:
        view[0] *= read / matrix[0]
    return Space(
        (matrix[0], matrix[1], matrix[2]),
        (view[0], view[1], view[2]),
        min(read, matrix[0]),
        (_centre(header, 1, matrix[1]), _centre(header, 2, matrix[2])),
    )


def _centre(header: str, step: int, lines: int) -> int:
    """Return which line of an encoding step lies in the middle; the half where the header does not say."""
    limits = _within(_within(header, "encodingLimits") or "", f"kspace_encoding_step_{step}") or ""
    found = re.search(_NUMBER.format("center"), limits)
    return int(float(found[1])) if found else lines // 2


def _within(text: str, name: str) -> str | None:
    found = re.search(_SPACE.format(name), text, re.DOTALL)
    return found[1] if found else None


def _triple(text: str, name: str, path: Path) -> tuple[float, float, float]:
    within = _within(text, name) or ""
    found = [re.search(_NUMBER.format(axis), within) for axis in "xyz"]
    numbers = [float(one[1]) for one in found if one]
    if len(numbers) != 3 or min(numbers) <= 0:
        raise DataError(f"its header tells no {name} of x, y and z", where=path)
    return numbers[0], numbers[1], numbers[2]
