"""NIfTI files."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from client.data.formats.inflate import GzipFile, InflateError, opened_gzip
from client.data.formats.library_messages import warnings_heard
from client.data.formats.limits import DEFLATED, RAW, require_plausible
from client.data.formats.picture import Picture
from client.data.formats.placed_volumes import placed
from shared.errors import DataError

_HEAD = 540  # bytes of the longer header
_EXTENSION = 16  # bytes of the shortest one
_GZIP = b"\x1f\x8b"
_PIECE = 2**20
_REMEDY = "Copy or export it again."
_CORRECT = "Correct its header."
_MOST_BEYOND = 2**16  # bytes behind the last number: padding
_FARTHEST = 2**40
_SURFACES = range(3000, 3100)  # codes of intent
_SAME_SIZE = 0.01
_ONE_PLACE = 1e-3  # mm
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # the code of a unit; 0: not said
_OPAQUE = 3  # which byte of RGBA says it


def read_nifti(path: Path, dimensions: int | None) -> Picture:
    """Read a NIfTI file; a further axis than three becomes channels.

    Args:
        path: The file.
        dimensions: 3 keeps a volume of one slice a volume; otherwise it becomes a picture.

    Raises:
        DataError: It has too many dimensions, or holds surfaces.
        ValueError: Its affine can't be used.
    """
    image, mended = _loaded(path)
    array = _channels_first(_values(image, path))
    if array.ndim != 4:
        raise DataError(f"has {len(image.shape)} dimensions", where=path)
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _millimetres(image.header, path)
    codes = (int(image.header["sform_code"]), int(image.header["qform_code"]))
    notes = (*mended, *(_notes(image) if all(codes) else ()), *(_of_sizes(image) if codes[0] else ()))
    return placed(array, affine, dimensions, located=any(codes), notes=notes)


def nifti_header(path: Path) -> nibabel.Nifti1Header:
    """Return the header of a NIfTI file as it stands there.

    Raises:
        DataError: It is none.
    """
    with _opened(path) as file:
        return _header(file, path)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, packed by gzip or not: its first bytes say it."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with opened_gzip(file) as inside:
            yield inside


def _header(file: IO[bytes], path: Path) -> nibabel.Nifti1Header:
    """Read the header at the beginning of a file, which is there again afterwards."""
    head = file.read(_HEAD)
    file.seek(0)
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if kind.may_contain_header(head):
            return kind(head[: kind.sizeof_hdr], check=False)
    raise DataError("is not a NIfTI file", where=path)


def _loaded(path: Path) -> tuple[nibabel.Nifti1Image, tuple[str, ...]]:
    """Return an image, its size plausible and its checksum right, and what was mended in its header."""
    with _opened(path) as file, warnings_heard() as said:
        header = _header(file, path)
        _require_volume(header, path)
        kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        shape, itemsize, held = header.get_data_shape(), _dtype(header, path).itemsize, path.stat().st_size
        packed = isinstance(file, GzipFile)
        require_plausible(path, shape, itemsize, DEFLATED if packed else RAW, held)
        _require_extensions(path, file, header)
        begin = max(_HEAD, int(header.get_data_offset()))
        require_plausible(path, (begin,), 1, DEFLATED, held)
        if not packed:
            _require_read(held - begin - prod(shape) * itemsize, path)
        image = (
            kind.from_bytes(_unpacked(file, path, begin + prod(shape) * itemsize))
            if packed
            else kind.load(path)
        )
    if image.header["sform_code"] == 0 and any(text.startswith("pixdim") and "zero" in text for text in said):
        raise DataError("says that its voxels are 0 mm wide", where=path, remedy=_CORRECT)
    mended = (text for text in dict.fromkeys(said) if "setting" in text)
    return image, tuple(f"the header of {path.name} was mended: {text}" for text in mended)


def _require_volume(header: nibabel.Nifti1Header, path: Path) -> None:
    first = float(header["vox_offset"])
    if not header.sizeof_hdr + 4 <= first < _FARTHEST or first % 1:
        raise DataError(
            f"says that its numbers begin at byte {first:g}, within its header or nowhere",
            where=path,
            remedy="Its header is damaged: save it anew.",
        )
    if np.isinf([float(header[name]) for name in ("scl_slope", "scl_inter")]).any():
        raise DataError("scales its numbers by what is not a number", where=path, remedy=_CORRECT)
    if int(header["intent_code"]) in _SURFACES:
        raise DataError("holds surfaces (CIFTI), not a volume", where=path)


def _require_read(beyond: int, path: Path) -> None:
    """Refuse a file with so many bytes behind its last number that its header must be wrong."""
    if beyond > _MOST_BEYOND:
        raise DataError(
            "holds far more numbers than its header says",
            where=path,
            remedy="Its dimensions are wrong, or it is several files in one: save it anew.",
        )


def _dtype(header: nibabel.Nifti1Header, path: Path) -> np.dtype[Any]:
    try:
        return header.get_data_dtype()
    except (KeyError, HeaderDataError):
        code = int(header["datatype"])
        raise DataError(f"holds numbers of type {code}, which NIfTI does not know", where=path) from None


def _require_extensions(path: Path, file: IO[bytes], header: nibabel.Nifti1Header) -> None:
    """Refuse an extension that reaches into the numbers: nibabel would look for the next one in them."""
    at, end = header.sizeof_hdr + 4, int(header.get_data_offset())
    file.seek(header.sizeof_hdr)
    there = file.read(4)[:1] not in (b"", b"\0")
    while there and end - at >= _EXTENSION:
        length = int(np.frombuffer(file.read(8)[:4].ljust(4, b"\0"), f"{header.endianness}i4")[0])
        at += length
        if length < 8 or at > end:
            raise DataError(
                f"has an extension of {length} bytes in its header, which has no room for it",
                where=path,
                remedy=_REMEDY,
            )
        file.seek(at)
    file.seek(0)


def _unpacked(file: IO[bytes], path: Path, length: int) -> bytes:
    """Return the first bytes of a packed file that is whole."""
    try:
        content, beyond = file.read(length), 0
        while piece := file.read(_PIECE):  # the checksum stands at the end
            beyond += len(piece)
            _require_read(beyond, path)
    except (OSError, EOFError, InflateError) as error:
        raise DataError(f"is damaged ({error})", where=path, remedy=_REMEDY) from None
    return content


def _millimetres(header: nibabel.Nifti1Header, path: Path) -> float:
    code = int(header["xyzt_units"]) % 8  # the higher bits are the unit of time
    if code not in _TO_MM:
        raise DataError(
            f"gives its lengths in the unit {code}, which NIfTI does not know", where=path, remedy=_CORRECT
        )
    return _TO_MM[code]


def _values(image: nibabel.Nifti1Image, path: Path) -> NDArray[Any]:
    """Return the numbers with every bit that they have, (x, y, z[, channels]).

    Raises:
        DataError: They are transparent in places.
    """
    if image.get_data_dtype().fields:  # bytes of colour
        raw = np.asanyarray(image.dataobj)
        array = np.stack([raw[name] for name in raw.dtype.names or ()], axis=-1)
        if array.shape[-1] == _OPAQUE + 1:
            if (array[..., _OPAQUE] != 255).any():
                raise DataError("is transparent in places", where=path, remedy="Save it as RGB.")
            array = array[..., :_OPAQUE]
    else:
        slope, intercept = image.dataobj.slope, image.dataobj.inter
        if (slope, intercept) == (1.0, 0.0) or image.get_data_dtype().kind == "c":
            array = np.asanyarray(image.dataobj)
        else:
            array = np.asarray(image.get_fdata(dtype=np.float64, caching="unchanged"))
    array = array.reshape(array.shape + (1,) * (3 - array.ndim))
    return np.squeeze(array, tuple(axis for axis in range(3, array.ndim) if array.shape[axis] == 1))


def _channels_first(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3:
        return array[None]
    return np.moveaxis(array, tuple(range(3, array.ndim)), range(array.ndim - 3))


def _notes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """Say where the header's two descriptions of its place turn the axes apart; the sform is used."""
    sform, qform = image.get_sform(), image.get_qform()
    if np.abs(sform - qform).max() < _ONE_PLACE:  # as in nearly every file: the ways cost more to find
        return ()
    ways = [nibabel.orientations.aff2axcodes(affine) for affine in (sform, qform)]
    if ways[0] == ways[1]:
        return ()
    names = ["".join(name or "?" for name in way) for way in ways]
    return (f"its sform says that the axes run to {names[0]}, its qform to {names[1]}; the sform counts",)


def _of_sizes(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """Say where the header's size of a voxel is another than that of its sform, which counts."""
    sizes = np.abs(image.header["pixdim"][1:4].astype(np.float64))
    placed = np.linalg.norm(image.get_sform()[:3, :3], axis=0)
    if np.allclose(sizes, placed, rtol=_SAME_SIZE):
        return ()
    named = [" x ".join(f"{length:.4g}" for length in lengths) for lengths in (sizes, placed)]
    return (f"its pixdim says voxels of {named[0]} mm, its sform of {named[1]}; the sform counts",)
