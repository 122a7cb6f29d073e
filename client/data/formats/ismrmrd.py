"""ISMRMRD: lines of k-space as they were acquired, put where they belong (Inati et al. 2017).

Cartesian lines alone; what is noise, navigation, calibration or a correction is left out.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.formats.hdf5 import Space
from client.data.formats.limits import MOST_VALUES
from client.data.formats.slices import one_of
from shared.errors import DataError

# ISMRMRD's flags, counted from 1: noise, calibration alone (21 is an image's line too), navigation, phase
# correction, feedback, dummies, correction of surface coils, stabilization of the phase.
_OTHERS = sum(1 << (bit - 1) for bit in (19, 20, 23, 24, 26, 27, 28, 29, 30, 31))
_REVERSE = 1 << (22 - 1)
_IMAGES = ("contrast", "phase", "set")  # counters whose values are images of their own
Measured = tuple[NDArray[np.complex64], NDArray[np.bool_]]


def read_acquisitions(table: Any, space: Space, axes: int, number: int | None, path: Path) -> Measured:
    """Return the samples (K, *S) of a table of lines, and where something was measured (*S).

    The readout is the first axis, cut to the image's length where it was sampled more finely. Samples that
    were measured several times are averaged.

    Args:
        table: The dataset.
        space: Of the header.
        axes: 2 or 3.
        number: Which slice, from 1; None: there is one.
        path: The file, for errors.

    Raises:
        DataError: It is not what is told, or holds several slices, several images of one, or lines that run
            backwards.
    """
    lines = [line for line in table[()] if not int(line["head"]["flags"]) & _OTHERS]
    slices = sorted({int(line["head"]["idx"]["slice"]) for line in lines})
    if not slices:
        raise DataError("holds no line of an image", where=path)
    chosen = slices[one_of(len(slices), number, path)]
    lines = [line for line in lines if int(line["head"]["idx"]["slice"]) == chosen]
    coils, shape = int(lines[0]["head"]["active_channels"]), space.matrix[: 3 if axes == 3 else 2]
    if coils < 1 or coils * int(np.prod(shape, dtype=np.int64)) > MOST_VALUES:
        raise DataError(f"claims {coils} coils of {shape}", where=path)
    if axes == 2 and any(int(line["head"]["idx"]["kspace_encode_step_2"]) for line in lines):
        raise DataError("is a volume, and the job sees pictures", where=path)
    _require_one_image(lines, path)
    total = np.zeros((*shape[1:], coils, shape[0]), np.complex64)
    count = np.zeros((*shape[1:], shape[0]), np.int64)
    for line in lines:
        place, where, values = _line(line, coils, space, shape, path)
        total[place][:, where] += values
        count[place][where] += 1
    means = (total / np.maximum(count, 1)[..., None, :]).astype(np.complex64)
    samples = np.moveaxis(means, (-2, -1), (0, 1))
    return cut_readout(samples, space.read, np.moveaxis(count > 0, -1, 0))


def _require_one_image(lines: list[Any], path: Path) -> None:
    for counter in _IMAGES:
        count = len({int(line["head"]["idx"][counter]) for line in lines})
        if count > 1:
            raise DataError(
                f"holds {count} images of a slice (its lines have several values of '{counter}')",
                where=path,
                remedy="Write each into a file of its own.",
            )
    if any(int(line["head"]["flags"]) & _REVERSE for line in lines):
        raise DataError(
            "has lines that were read backwards (echo-planar imaging), which are not corrected here",
            where=path,
            remedy="Save the corrected k-space as .npy.",
        )


def _line(
    line: Any, coils: int, space: Space, shape: tuple[int, ...], path: Path
) -> tuple[tuple[int, ...], slice, Any]:
    """Return where a line belongs, which samples of the readout it has, and their values (K, samples)."""
    head, index = line["head"], line["head"]["idx"]
    place = tuple(
        int(index[f"kspace_encode_step_{axis}"]) - space.centres[axis - 1] + shape[axis] // 2
        for axis in range(1, len(shape))
    )
    length, middle = int(head["number_of_samples"]), int(head["center_sample"])
    values = np.asarray(line["data"], np.float32)
    start = shape[0] // 2 - middle
    inside = all(0 <= at < most for at, most in zip(place, shape[1:], strict=True))
    if values.size != 2 * coils * length or not inside or start < 0 or start + length > shape[0]:
        raise DataError("has a line that does not fit its header: is it Cartesian?", where=path)
    if int(head["trajectory_dimensions"]):
        raise DataError("has lines with a trajectory: only Cartesian ones are read", where=path)
    return place, slice(start, start + length), values.view(np.complex64).reshape(coils, length)


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
    nearest = np.round((np.arange(read) - read // 2) * length / read).astype(int) + length // 2
    taken = taken[nearest.clip(0, length - 1)]
    return (cut * taken).astype(np.complex64), taken
