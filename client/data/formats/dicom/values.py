"""From what a DICOM file stores to what it means: in the order of the standard.

Modality transform first (rescale or look-up table, PS3.3 C.11.1), then the inversion of MONOCHROME1
(C.7.6.3.1.2), so that a negative is one of the values and not of what is stored.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut

from client.data.formats.dicom.packed import unpacked
from shared.errors import DataError
from shared.text.names import shown

_KINDS = {  # samples of a pixel -> PhotometricInterpretation (PS3.3 C.7.6.3.1.2)
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}
_CONTRADICTS = {"MONOCHROME1": "IDENTITY", "MONOCHROME2": "INVERSE"}  # PS3.3 C.8.11.3.1


@dataclass(frozen=True)
class Frame:
    """The numbers of one frame.

    Attributes:
        array: (C, rows, columns), in rescaled units (CT: Hounsfield).
        padding: (rows, columns), True where the file says that there is no tissue; None: nowhere.
    """

    array: NDArray[Any]
    padding: NDArray[np.bool_] | None


def read_frame(dataset: Dataset, where: Path) -> Frame:
    """Return the numbers of a file of one frame.

    Raises:
        DataError: It holds no picture, several frames, or a rescaling that makes nothing of it.
    """
    require_known(dataset, where)
    return frame_of(unpacked(dataset, where), dataset, where)


def frame_of(stored: NDArray[Any], dataset: Dataset, where: Path) -> Frame:
    """Return the numbers of a frame as it is stored, (rows, columns[, samples]).

    Raises:
        DataError: Its rescaling makes nothing of it.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return Frame(_channels_first(apply_color_lut(stored, dataset)), None)
    if stored.ndim == 3:
        return Frame(_channels_first(stored), None)
    stored = within_bits(stored, dataset)
    return Frame(meaning(stored, dataset, where)[None], padding_of(stored, dataset))


def require_known(dataset: Dataset, where: Path) -> None:
    """Refuse pixels that mean something else than is made of them here.

    Raises:
        DataError: There are none, or they are of a kind that is not read.
    """
    if "DoseGridScaling" in dataset:
        raise DataError("is a dose of radiotherapy (RTDOSE), not an image", where=where)
    if "PixelData" not in dataset:
        pointed = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
        what = (
            "holds a parametric map (numbers with a point), which is not read"
            if pointed
            else "holds no picture"
        )
        raise DataError(what, where=where, remedy="Convert it to NIfTI." if pointed else None)
    kind, samples = str(dataset.get("PhotometricInterpretation", "")), int(dataset.get("SamplesPerPixel", 1))
    if kind not in _KINDS.get(samples, ()):
        raise DataError(
            f"has pixels of kind '{shown(kind)}' with {samples} sample{'s' * (samples != 1)} each",
            where=where,
            remedy="Export it as MONOCHROME2 or RGB.",
        )
    if str(dataset.get("PresentationLUTShape") or "") == _CONTRADICTS.get(kind):
        raise DataError(
            f"is {kind} and says PresentationLUTShape {dataset.PresentationLUTShape}, which contradict each "
            "other: whether it is a negative is not known",
            where=where,
            remedy="Export it with the shape that fits (MONOCHROME1 INVERSE, MONOCHROME2 IDENTITY).",
        )
    bits, highest = int(dataset.BitsStored), dataset.get("HighBit")
    if highest is not None and int(highest) != bits - 1:
        raise DataError(
            f"says that the highest of its {bits} bits is number {highest}: where they lie is not clear",
            where=where,
            remedy=f"Correct HighBit (0028,0102), which is {bits - 1} in files of today, or export it again.",
        )


def meaning(stored: NDArray[Any], dataset: Dataset, where: Path) -> NDArray[Any]:
    """Return stored grey values in the units that they mean, a negative turned positive.

    Args:
        stored: Of any shape.
        dataset: Has the transform: the file's, or one frame's.
        where: The file, for the error.

    Raises:
        DataError: Its rescale slope is 0.
    """
    values = _rescaled(stored, dataset, where)
    if dataset.get("PhotometricInterpretation") != "MONOCHROME1":  # there the lowest value is white
        return values
    low, high = _range_of(dataset, where)
    inverted: NDArray[Any] = low + high - values
    return inverted


def padding_of(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_] | None:
    """Return where a file says that its stored values are not tissue (PixelPaddingValue), None: nowhere."""
    value = _stored_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _rescaled(stored: NDArray[Any], dataset: Dataset, where: Path) -> NDArray[Any]:
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, dataset)
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    require_slope(dataset, where)
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return stored * slope + intercept


def require_slope(dataset: Dataset, where: Path) -> None:
    """Refuse a rescaling that makes nothing of an image.

    Raises:
        DataError: Its slope is 0.
    """
    if _number(dataset, "RescaleSlope") == 0:
        raise DataError(
            "has a rescale slope of 0, which makes all its values equal",
            where=where,
            remedy="Ask for the file anew, or correct RescaleSlope (0028,1053).",
        )


def _range_of(dataset: Dataset, where: Path) -> tuple[float, float]:
    """Return the lowest and highest value that a file can mean."""
    if tables := dataset.get("ModalityLUTSequence"):
        data = tables[0].LUTData
        table = np.frombuffer(data, np.uint16) if isinstance(data, bytes) else np.array(data)
        return float(table.min()), float(table.max())
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=np.int64)
    low, high = sorted(float(end) for end in _rescaled(ends, dataset, where))
    return low, high


def within_bits(stored: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Take off what old files keep above the stored bits: overlays (PS3.5 8.1.1)."""
    bits, kind = int(dataset.BitsStored), stored.dtype
    if bits >= kind.itemsize * 8 or kind.kind not in "iu":
        return stored
    raw = stored.astype(np.int64) & (2**bits - 1)
    if kind.kind == "i":
        raw = np.where(raw >= 2 ** (bits - 1), raw - 2**bits, raw)
    return raw.astype(kind)


def _number(dataset: Dataset, tag: str) -> float | None:
    """Return a number that may be missing or empty."""
    value = dataset.get(tag)
    return None if value is None or value == "" else float(value)


def _stored_number(dataset: Dataset, tag: str) -> float | None:
    """Return a number that is one of the stored values; many scanners write -2000 as the unsigned 63536."""
    value, bits = _number(dataset, tag), int(dataset.BitsAllocated)
    beyond = value is not None and int(dataset.PixelRepresentation) == 1 and value >= 2 ** (bits - 1)
    return value - 2**bits if value is not None and beyond else value


def _channels_first(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
