"""A cine in DICOM: many frames in time in one file (ultrasound, angiography, fluoroscopy, captures)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from client.data.formats.dicom.bytes import read_whole
from client.data.formats.dicom.packed import frames_of, require_fitting
from client.data.formats.dicom.place import pixel_spacing
from client.data.formats.dicom.single import load
from client.data.formats.dicom.values import frame_of, require_known
from shared.errors import DataError

_TIMES = (0x00181063, 0x00181065)  # FrameTime, FrameTimeVector
_RATES = ("CineRate", "RecommendedDisplayFrameRate")
_LONGEST_GAP = 60_000.0  # ms
Choice = Callable[[int, NDArray[np.float64] | None], Sequence[int]]
"""From the number of frames, and when each was taken (ms), to the numbers of those that are read."""


@dataclass(frozen=True)
class Cine:
    """Frames in time.

    Attributes:
        frames: Those that were chosen, (C, rows, columns) each.
        count: Of all frames.
        times: Of all frames, ms after the first; None where the file does not say.
        spacing: Millimetres between rows, between columns, or None.
    """

    frames: list[NDArray[np.float32]]
    count: int
    times: NDArray[np.float64] | None
    spacing: tuple[float, float] | None


def is_cine(path: Path) -> bool:
    """Say if a file is DICOM with many frames that have no place each."""
    if not path.is_file() or not is_dicom(path):
        return False
    header = read_whole(path, without_pixels=True)
    return int(header.get("NumberOfFrames") or 1) > 1 and "PerFrameFunctionalGroupsSequence" not in header


def read_cine(path: Path, choose: Choice) -> Cine:
    """Read some frames of a cine, and no others.

    Args:
        path: The file.
        choose: Which.

    Raises:
        DataError: Its frames are not moments, or it is damaged.
    """
    dataset = load(path)
    require_known(dataset, path)
    require_fitting(dataset, path)
    times, count = _times(dataset, path), int(dataset.NumberOfFrames)
    frames = []
    for stored in frames_of(dataset, choose(count, times), path):
        found = frame_of(stored, dataset, path)
        array = found.array.astype(np.float32)
        if found.padding is not None and not found.padding.all():
            array[:, found.padding] = array[:, ~found.padding].min()
        frames.append(array)
    return Cine(frames, count, times, pixel_spacing(dataset, path))


def _times(dataset: Dataset, path: Path) -> NDArray[np.float64] | None:
    """Return when each frame was taken, ms after the first (PS3.3 C.7.6.5); None where it is not said."""
    pointer = dataset.get("FrameIncrementPointer")
    named = [] if pointer is None else [pointer] if isinstance(pointer, int) else list(pointer)
    if other := [tag for tag in named if tag not in _TIMES]:
        raise DataError(
            f"has frames that are not moments (they are numbered by {other[0]})",
            where=path,
            remedy="Export the frames that are wanted as single files.",
        )
    count = int(dataset.NumberOfFrames)
    gaps = dataset.get("FrameTimeVector")
    if gaps is not None and gaps != "":
        steps = np.array([float(gap) for gap in np.atleast_1d(gaps)])
        if len(steps) != count:
            raise DataError(f"has {count} frames and {len(steps)} times (FrameTimeVector)", where=path)
        steps[0] = 0.0
    elif step := _step(dataset):
        steps = np.full(count, step)
        steps[0] = 0.0
    else:
        return None
    if not ((steps[1:] > 0) & (steps[1:] <= _LONGEST_GAP)).all():
        raise DataError(
            "has frames that follow each other after 0 ms, or after more than a minute",
            where=path,
            remedy="Correct FrameTime or FrameTimeVector, or export the frames as single files.",
        )
    return np.cumsum(steps)


def _step(dataset: Dataset) -> float | None:
    """Return the milliseconds between two frames."""
    if value := dataset.get("FrameTime"):
        return float(value)
    rate = next((float(dataset.get(name)) for name in _RATES if dataset.get(name)), 0.0)
    return 1000.0 / rate if rate else None
