"""Random changes to training samples, drawn from one seed each.

A change of place is drawn once for a sample and moves every field of it (`client.data.motion.steps`); a
change of shade is drawn for each image. Written over PyTorch, not MONAI's transforms: for flip, rotate90 and
intensity of a 3x128x128 image with a mask, MONAI's dictionary transforms took 3.2 ms, nearly all of it
bookkeeping, where this takes 0.4 ms; a small network trains on the image for no longer than that.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from client.data.motion.elastic import Elastic
from client.data.motion.steps import Crop, Flip, QuarterTurns, Shape, Step, Warp, padding_before

CHANCE = 0.5  # of each change, in each sample
ROTATION = math.radians(15)
ZOOM = 0.1
SCALE, SHIFT = 0.1, 0.1  # shares of the values, and of the image's standard deviation
NOISE = 0.05  # of the image's standard deviation
GAMMA = 1.5
CROP = 0.8  # least part of each axis that is magnified
BEND, CONTROLS = 0.03, 5  # largest displacement, as a share of the axis; control points along it
SATURATION, HUE, CHANNEL = 0.2, 0.1 * math.pi, 0.05  # shares, and the largest turn about grey

Centre = Callable[[np.random.Generator], Sequence[int] | None]
"""Draws a pixel of what a task looks for; None where the sample has nothing of it."""


def flip(shape: Shape, rng: np.random.Generator) -> Step | None:
    """Mirror along each axis, each with its own chance."""
    axes = tuple(axis - len(shape) for axis in range(len(shape)) if rng.random() < CHANCE)
    return Flip(axes, shape) if axes else None


def rotate90(shape: Shape, rng: np.random.Generator) -> Step | None:
    """Turn in the plane of the first two axes by quarter turns; by half turns where not square."""
    turns = int(rng.integers(4)) if shape[0] == shape[1] else 2 * int(rng.integers(2))
    return QuarterTurns(turns, shape) if turns else None


def rotate(shape: Shape, rng: np.random.Generator) -> Step | None:
    """Turn in the plane of the first two axes by up to 15 degrees."""
    chosen, angle = rng.random() < CHANCE, rng.uniform(-ROTATION, ROTATION)
    if not chosen:
        return None
    matrix = torch.eye(len(shape))
    matrix[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return Warp(matrix, shape)


def zoom(shape: Shape, rng: np.random.Generator) -> Step | None:
    """Magnify or shrink by up to 10 percent about the centre."""
    chosen, factor = rng.random() < CHANCE, rng.uniform(1 - ZOOM, 1 + ZOOM)
    return Warp(torch.eye(len(shape)) / factor, shape) if chosen else None


def crop_and_magnify(shape: Shape, rng: np.random.Generator) -> Step | None:
    """Magnify a part of 80 to 100 percent of each axis to the whole, wherever it lies."""
    chosen, part = rng.random() < CHANCE, rng.uniform(CROP, 1)
    places = rng.uniform(-1, 1, len(shape))
    if not chosen:
        return None
    room = [float(place) * length * (1 - part) / 2 for place, length in zip(places, shape, strict=True)]
    return Warp(torch.eye(len(shape)) * part, shape, tuple(room))


def elastic(shape: Shape, rng: np.random.Generator) -> Step | None:
    """Bend by up to 3 percent of each axis, smoothly between 5 control points along it."""
    chosen = rng.random() < CHANCE
    drawn = rng.uniform(-1, 1, (len(shape), *[CONTROLS] * len(shape)))
    if not chosen:
        return None
    most = BEND * np.array(shape).reshape(-1, *[1] * len(shape))
    return Elastic(torch.from_numpy(drawn * most).float(), shape)


def colour(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Change saturation by up to 20, each channel by up to 5 percent, and turn hues by up to 18 degrees.

    Args:
        image: (..., 3, H, W); grey is the mean of the channels, and hues lie around it.
        rng: Where the draws come from.
    """
    chosen = rng.random() < CHANCE
    saturation, angle = rng.uniform(1 - SATURATION, 1 + SATURATION), rng.uniform(-HUE, HUE)
    gains = rng.uniform(1 - CHANNEL, 1 + CHANNEL, 3)
    if not chosen:
        return image
    grey = image.mean(dim=-3, keepdim=True)
    hue = image - grey
    across = (hue.roll(1, dims=-3) - hue.roll(-1, dims=-3)) / math.sqrt(3)
    turned = grey + saturation * (math.cos(angle) * hue + math.sin(angle) * across)
    return turned * torch.from_numpy(gains).float()[:, None, None]


def gamma(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Bend the values between the image's lowest and highest by a power of 1/1.5 to 1.5."""
    chosen, power = rng.random() < CHANCE, GAMMA ** rng.uniform(-1, 1)
    low, high = image.aminmax()
    if not chosen or low == high:
        return image
    return ((image - low) / (high - low)).pow(power) * (high - low) + low


def intensity(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Scale all values by up to 10 percent, and shift them by up to a tenth of the standard deviation."""
    scale, shift = rng.uniform(1 - SCALE, 1 + SCALE), rng.uniform(-SHIFT, SHIFT)
    return torch.add(image.std() * shift, image, alpha=scale)


def noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise."""
    if rng.random() >= CHANCE:
        return image
    drawn = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
    return image + drawn * (image.std() * NOISE)


# In the order in which they are applied, whatever the order in the job.
MOTIONS: dict[str, Callable[[Shape, np.random.Generator], Step | None]] = {
    "flip": flip,
    "rotate90": rotate90,
    "rotate": rotate,
    "zoom": zoom,
    "crop": crop_and_magnify,
    "elastic": elastic,
}
SHADINGS: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "gamma": gamma,
    "colour": colour,
    "intensity": intensity,
    "noise": noise,
}


def draw_motion(
    names: Sequence[str], patch: Sequence[int] | None, shape: Shape, centre: Centre, rng: np.random.Generator
) -> list[Step]:
    """Draw how a sample is moved: cropped to the patch, then by the named changes.

    Args:
        names: Of the changes; those that are not keys of `MOTIONS` do not move.
        patch: Spatial shape to crop to, or None.
        shape: Spatial shape of the sample.
        centre: See `crop`.
        rng: Where the draws come from.
    """
    steps: list[Step] = []
    if patch is not None:
        steps.append(crop(shape, patch, centre, rng))
        shape = steps[0].shape(shape)
    for name, draw in MOTIONS.items():
        step = draw(shape, rng) if name in names else None
        if step is not None:
            steps.append(step)
            shape = step.shape(shape)
    return steps


def crop(shape: Shape, patch: Sequence[int], centre: Centre, rng: np.random.Generator) -> Crop:
    """Draw a patch: half are centred on what the task looks for, where there is any, the others anywhere."""
    padding = padding_before(shape, patch)
    room = np.maximum(np.array(shape), patch) - np.array(patch)
    start = rng.integers(room + 1)
    if rng.random() < CHANCE:
        found = centre(rng)
        if found is not None:
            start = np.clip(np.array(found) + padding - np.array(patch) // 2, 0, room)
    return Crop(shape, tuple(start.tolist()), tuple(patch))


def shade(image: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Return an image (..., *S) changed by those of the named changes that are keys of `SHADINGS`."""
    for name, change in SHADINGS.items():
        if name in names:
            image = change(image, rng)
    return image
