"""ISMRMRD: lines of k-space as they were acquired, put where they belong (Inati et al. 2017).

Cartesian lines alone; what is noise, navigation or calibration of the phase is left out.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.formats.hdf5 import Space
from client.data.formats.limits import MOST_VALUES
from shared.errors import DataError

# ISMRMRD's flags, counted from 1: noise, navigation, phase correction, feedback, dummies.
_OTHERS = sum(1 << (bit - 1) for bit in (19, 23, 24, 26, 27, 28))
Measured = tuple[NDArray[np.complex64], NDArray[np.bool_]]


def read_acquisitions(table: Any, space: Space, axes: int, number: int | None, path: Path) -> Measured:
    """Return the samples (K, *S) of a table of lines, and where something was measured (*S).

    The readout is the first axis, cut to the image's length where it was sampled more finely. Lines that were
    measured several times are averaged.

    Args:
        table: The dataset.
        space: Of the header.
        axes: 2 or 3.
        number: Which slice, from 1; None: there is one.
        path: The file, for errors.

    Raises:
        DataError: It is not what is told, or holds several slices.
    """
    lines = [line for line in table[()] if not int(line["head"]["flags"]) & _OTHERS]
    slices = sorted({int(line["head"]["idx"]["slice"]) for line in lines})
    if not slices or (number is None and len(slices) > 1) or (number or 1) > len(slices):
        raise DataError(
            f"holds {len(slices)} slices, and the row " + (f"asks for {number}" if number else "names none"),
            where=path,
            remedy="Write its number, from 1, into the column `kspace_slice`.",
        )
    chosen = slices[(number or 1) - 1]
    lines = [line for line in lines if int(line["head"]["idx"]["slice"]) == chosen]
    coils, shape = int(lines[0]["head"]["active_channels"]), space.matrix[: 3 if axes == 3 else 2]
    if coils < 1 or coils * int(np.prod(shape, dtype=np.int64)) > MOST_VALUES:
        raise DataError(f"claims {coils} coils of {shape}", where=path)
    if axes == 2 and any(int(line["head"]["idx"]["kspace_encode_step_2"]) for line in lines):
        raise DataError("is a volume, and the job sees pictures", where=path)
    total = np.zeros((*shape[1:], coils, shape[0]), np.complex64)
    count = np.zeros(shape[1:], np.int64)
    for line in lines:
        place, values = _line(line, coils, shape, path)
        total[place] += values
        count[place] += 1
    means = (total / np.maximum(count, 1)[..., None, None]).astype(np.complex64)
    samples = np.moveaxis(means, (-2, -1), (0, 1))
    taken = np.broadcast_to(count > 0, shape)
    return cut_readout(samples, space.read, taken)


def _line(line: Any, coils: int, shape: tuple[int, ...], path: Path) -> tuple[tuple[int, ...], Any]:
    """Return where a line belongs, and its values (K, readout) around the middle."""
    head, index = line["head"], line["head"]["idx"]
    place = tuple(int(index[f"kspace_encode_step_{axis}"]) for axis in range(1, len(shape)))
    length, middle = int(head["number_of_samples"]), int(head["center_sample"])
    values = np.asarray(line["data"], np.float32)
    start = shape[0] // 2 - middle
    inside = all(0 <= at < most for at, most in zip(place, shape[1:], strict=True))
    if values.size != 2 * coils * length or not inside or start < 0 or start + length > shape[0]:
        raise DataError("has a line that does not fit its header: is it Cartesian?", where=path)
    if int(head["trajectory_dimensions"]):
        raise DataError("has lines with a trajectory: only Cartesian ones are read", where=path)
    found = np.zeros((coils, shape[0]), np.complex64)
    found[:, start : start + length] = values.view(np.complex64).reshape(coils, length)
    return place, found


def cut_readout(samples: NDArray[np.complex64], read: int, taken: NDArray[np.bool_]) -> Measured:
    """Return samples (K, *S) of the middle of the image along its readout, of which all are there.

    Args:
        samples: Of all of the readout, the first axis.
        read: Pixels that are kept.
        taken: (*S), where something was measured.
    """
    length = samples.shape[1]
    if read == length:
        return samples, taken
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(samples, axes=1), axis=1), axes=1)
    start = length // 2 - read // 2
    image = image[:, start : start + read]
    cut = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, axes=1), axis=1), axes=1)
    return (cut * taken[None, :read]).astype(np.complex64), taken[:read]
