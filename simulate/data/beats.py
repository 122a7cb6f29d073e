"""Drawing what the heart does over time: a chamber that contracts, and its electrical signal."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FRAMES, SIDE = 16, 48
RHYTHMS = ("sinus", "fibrillation", "block")
STEPS, LEADS = 150, 2
_RATE = 25  # steps in a second


def draw_cine(rng: np.random.Generator, ejected: float) -> NDArray[np.float32]:
    """Draw one beat of a chamber as ultrasound shows it, (FRAMES, SIDE, SIDE), 0 to 1.

    The chamber is a ball: of its volume when it is full, `ejected` (0..1) leaves. How large it is and where
    the beat begins tells nothing of that.
    """
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)], indexing="ij")
    centre, aspect = rng.uniform(-0.1, 0.1, 2), rng.uniform(0.8, 1.25)
    full, wall, start = rng.uniform(0.36, 0.66), rng.uniform(0.12, 0.2), rng.uniform(0, 2 * np.pi)
    phase = np.linspace(0, 2 * np.pi, FRAMES, endpoint=False) + start
    empty = (1 - ejected) ** (1 / 3)
    radii = full * (empty + (1 - empty) * (1 + np.cos(phase)) / 2)
    frames = []
    for radius in radii:
        away = np.hypot((y - centre[0]) * aspect, (x - centre[1]) / aspect)
        image = np.where(away < radius, 0.12, np.where(away < radius + wall, 0.75, 0.35))
        speckle = ndimage.gaussian_filter(rng.exponential(1.0, image.shape), 0.7)
        frames.append(ndimage.gaussian_filter(image, 0.8) * (0.55 + 0.45 * speckle))
    return np.clip(frames, 0, 1).astype(np.float32)


def draw_rhythm(rng: np.random.Generator, rhythm: str) -> NDArray[np.float64]:
    """Draw six seconds of two leads, (STEPS, LEADS), in mV.

    Fibrillation has uneven beats without the small wave before them; in a block every third or fourth beat is
    missing behind that wave. Rate and height tell nothing.
    """
    mean = _RATE * rng.uniform(0.65, 1.0)
    spread = 0.28 if rhythm == "fibrillation" else 0.03
    times = np.cumsum(mean * np.exp(rng.normal(0, spread, 2 * STEPS // _RATE + 4))) - mean * rng.uniform(0, 1)
    every, first = int(rng.integers(3, 5)), int(rng.integers(0, 3))
    step = np.arange(STEPS)[:, None]
    signal = np.zeros(STEPS)
    for number, time in enumerate(times):
        if rhythm != "fibrillation":
            signal += _wave(step, time - 4, 0.2, 1.2)
        if rhythm != "block" or (number + first) % every:
            signal += _wave(step, time, 1.0, 0.8) + _wave(step, time + 6, 0.3, 2.0)
    leads = signal[:, None] * rng.uniform(0.5, 1.5, LEADS)
    return leads + rng.normal(0, 0.05, leads.shape)


def _wave(step: NDArray[np.int64], time: float, height: float, width: float) -> NDArray[np.float64]:
    return height * np.exp(-(((step[:, 0] - time) / width) ** 2) / 2)
