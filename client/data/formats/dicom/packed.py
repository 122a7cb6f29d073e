"""Packed pixels: what their own head says is compared with the file's before they are unpacked.

A decoder takes memory for what it is told. GDCM, which damaged streams end, unpacks what nothing else does,
in a process of its own (`gdcm_plugin.py`).
"""

import re
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import decoders, iter_pixels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from client.data.formats.dicom.gdcm_plugin import is_available
from client.data.formats.library_messages import standard_error_heard
from client.data.formats.limits import CODED, DEFLATED, RAW, RUN_LENGTHS, require_plausible
from shared.errors import DataError

_GDCM = ("client.data.formats.dicom.gdcm_plugin", "decode_frame")
for _decoder in (
    decoders.JPEGBaseline8BitDecoder,
    decoders.JPEGExtended12BitDecoder,
    decoders.JPEGLosslessDecoder,
    decoders.JPEGLosslessSV1Decoder,
    decoders.JPEGLSLosslessDecoder,
    decoders.JPEGLSNearLosslessDecoder,
    decoders.JPEG2000LosslessDecoder,
    decoders.JPEG2000Decoder,
):
    _decoder.remove_plugin("gdcm")
    if is_available(_decoder.UID):
        _decoder.add_plugin("gdcm", _GDCM)

_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_ITEM = b"\xfe\xff\x00\xe0"  # with which packed frames begin
_JP2 = b"\0\0\0\x0cjP  "
_FRAME_HEADS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF of JPEG (T.81, B.1.1.3) and JPEG-LS
_COMPLAINT = re.compile(
    r"Corrupt|Not a JPEG|[Pp]remature|Unsupported|Inconsistent|inconsistent|Invalid|Bogus|Warning"
)
_REMEDY = "Copy or export it again."


def require_fitting(dataset: Dataset, path: Path) -> None:
    """Refuse pixels that are more than the file can hold, or of another size than it says.

    Raises:
        DataError: They are.
    """
    frames, held = int(dataset.get("NumberOfFrames") or 1), path.stat().st_size
    require_plausible(path, (frames,), 1, DEFLATED, held)  # each is described, also one without pixels
    if "PixelData" not in dataset:
        return
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    rows, columns, samples = (int(dataset[tag].value) for tag in ("Rows", "Columns", "SamplesPerPixel"))
    bits = int(dataset.BitsAllocated)
    packing, has_head = _packing(syntax)
    if packing == RAW and isinstance(dataset.PixelData, bytes) and dataset.PixelData.startswith(_ITEM):
        raise DataError("does not say how its pixels are packed", where=path, remedy=_REMEDY)
    require_plausible(path, (frames, rows, columns, samples), bits / 8, packing, held)
    if not has_head:
        _require_no_further_frame(dataset, frames, path)
        return
    for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
        found = head_of(frame, _is_jpeg(syntax))
        if found is None or found[:3] != (rows, columns, samples) or ceil(found[3] / 8) != ceil(bits / 8):
            none = "nothing that gdcm, OpenJPEG or CharLS unpack"
            packed = f"{found[0]}x{found[1]}x{found[2]} of {found[3]} bits" if found and all(found) else none
            raise DataError(
                f"says that its pixels are {rows}x{columns}x{samples} of {bits} bits, and packs {packed}",
                where=path,
                remedy=_REMEDY,
            )


def _require_no_further_frame(dataset: Dataset, frames: int, path: Path) -> None:
    """Refuse plain pixels of more frames than the header says."""
    if UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated:
        return
    bits = (
        int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated)
    )
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":  # two pixels share their colours
        bits = bits * 2 // 3
    if bits and 8 * len(dataset.PixelData or b"") - frames * bits >= max(bits, 16):  # a byte may be padding
        raise DataError("holds more pixels than its header says", where=path, remedy=_REMEDY)


def unpacked(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Return the stored pixels of a file.

    Raises:
        DataError: They do not fit (`require_fitting`), or are damaged.
    """
    require_fitting(dataset, path)
    pixels = decoded(dataset, path)
    if pixels.shape[:2] != (dataset.Rows, dataset.Columns) or pixels.ndim != 2 + (
        dataset.SamplesPerPixel > 1
    ):
        raise DataError("holds more pixels than its header says", where=path, remedy=_REMEDY)
    return pixels


def decoded(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Return the stored pixels of all frames.

    Raises:
        DataError: They are damaged.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_encapsulated:
        return np.asarray(dataset.pixel_array)
    with standard_error_heard(_COMPLAINT) as said:
        pixels = np.asarray(dataset.pixel_array)
    if said:
        raise DataError(f"has damaged pixels ({said[0][:100]})", where=path, remedy=_REMEDY)
    return pixels


def frames_of(dataset: Dataset, numbers: Sequence[int], path: Path) -> Iterator[NDArray[Any]]:
    """Yield some of the stored frames, and unpack no others; colours are RGB.

    Raises:
        DataError: They are damaged.
    """
    frames = iter_pixels(dataset, indices=list(numbers))
    for _ in numbers:
        with standard_error_heard(_COMPLAINT) as said:
            frame = np.asarray(next(frames))
        if said and UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated:
            raise DataError(f"has damaged pixels ({said[0][:100]})", where=path, remedy=_REMEDY)
        yield frame


def _is_jpeg(syntax: UID) -> bool:
    return syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes


def head_of(frame: bytes, jpeg: bool) -> tuple[int, int, int, int] | None:
    """Return (rows, columns, samples, bits) of a packed frame.

    Args:
        frame: Its bytes.
        jpeg: Whether it is JPEG or JPEG-LS; otherwise JPEG 2000.

    Returns:
        None where it is not.
    """
    if jpeg:
        return _head_of_jpeg(frame)
    if frame.startswith(_JP2):  # the stream lies in boxes
        frame = frame[max(0, frame.find(_JPEG_2000)) :]
    if frame.startswith(_JPEG_2000) and len(frame) > 42:  # T.800, A.5.1
        right, low, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
        return low - top, right - left, int.from_bytes(frame[40:42], "big"), (frame[42] & 0x7F) + 1
    return None


def _head_of_jpeg(frame: bytes) -> tuple[int, int, int, int] | None:
    at = 2
    while frame.startswith(_JPEG) and at + 10 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _FRAME_HEADS:
            rows, columns = (int.from_bytes(frame[at + begin : at + begin + 2], "big") for begin in (5, 7))
            return rows, columns, frame[at + 9], frame[at + 4]
        fill = frame[at + 1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _packing(syntax: UID) -> tuple[int, bool]:
    """Return what one byte may stand for, and whether each frame has a head of its own."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return DEFLATED, False
    if syntax == RLELossless:
        return RUN_LENGTHS, False
    if syntax.is_encapsulated:
        coded = not _is_jpeg(syntax) or syntax in JPEGLSTransferSyntaxes
        return (CODED if coded else DEFLATED), True
    return RAW, False
