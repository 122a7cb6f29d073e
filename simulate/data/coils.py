"""Synthetic heads as a scanner with several coils measures them: whole k-space, with phase and noise."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulate.data.anatomy import draw_brain
from simulate.data.patients import Patient, Row, patients, place, row

_COILS = 4
_SIDE = 64
_NOISE = {"north": 0.005, "south": 0.02, "east": 0.01, "west": 0.015}  # in each channel of an image


def head_scans(folder: Path, seed: int) -> Iterator[Row]:
    """Whole k-space of two slices of a head, 4 coils of 64 x 64; hospitals differ in coils and noise."""
    for patient in patients({"north": 24, "south": 16, "east": 12, "west": 8}, seed):
        slices, _ = draw_brain(patient.rng, np.array([-0.1, 0.2]), (_SIDE, _SIDE), tumour=True)
        for number, pixels in enumerate(slices, start=1):
            file = place(folder, "kspace", patient, f"{patient.name}-{number}.npy")
            np.save(file, _measured(patient, pixels))
            cells = row(folder, patient, file)
            yield {"kspace" if key == "image" else key: cell for key, cell in cells.items()}


def _measured(patient: Patient, pixels: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the k-space (K, H, W) of a slice, whose middle is at H // 2 and W // 2."""
    rng, axis = patient.rng, np.linspace(-1, 1, _SIDE)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    turns = 2 * np.pi * (np.arange(_COILS) + rng.uniform(0, 0.3)) / _COILS
    reach = {"north": 0.8, "south": 1.0, "east": 1.2, "west": 0.7}[patient.site]
    away = [(x - 1.2 * np.cos(turn)) ** 2 + (y - 1.2 * np.sin(turn)) ** 2 for turn in turns]
    slopes = rng.uniform(-1, 1, (_COILS + 1, 2))
    phases = [rng.uniform(-np.pi, np.pi) + np.pi / 2 * (a * x + b * y) for a, b in slopes]
    maps = [np.exp(-own / (2 * reach**2) + 1j * phase) for own, phase in zip(away, phases[1:], strict=True)]
    images = np.stack(maps) * pixels * np.exp(1j * phases[0])
    real, imaginary = _NOISE[patient.site] * rng.standard_normal((2, *images.shape))
    axes = (1, 2)
    kspace = np.fft.fftn(np.fft.ifftshift(images + real + 1j * imaginary, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(kspace, axes=axes).astype(np.complex64)
