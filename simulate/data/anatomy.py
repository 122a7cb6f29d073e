"""Drawing the patients of synthetic hospitals: brains with tumours, and lesions of the skin.

Lengths are shares of half the picture's longest side; intensities are 0 to 1. A shape is drawn from a signed
distance: below 0 inside, above 0 outside.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
LESIONS = ("naevus", "melanoma", "keratosis")
TUMOUR, VENTRICLE = 1, 2
_BRAIN_EDGE = 0.84  # of the head's radius


def draw_brain(
    rng: np.random.Generator, heights: NDArray[np.float64], size: tuple[int, int], *, tumour: bool
) -> tuple[Floats, NDArray[np.uint8]]:
    """Draw axial slices of one head, as in a FLAIR sequence: tumours are bright, and not they alone.

    The scalp, veins, choroid plexus and small white-matter lesions are as bright as a tumour can be; the
    tumour has a soft and irregular border, and may have a dark core.

    Args:
        rng: Decides everything about the patient.
        heights: Heights of the D slices, in the same length unit, 0 in the middle of the head.
        size: Height and width of a slice, in pixels.
        tumour: Whether the patient has one.

    Returns:
        The intensities, (D, H, W), and the labels, (D, H, W): 0, `TUMOUR` or `VENTRICLE`.
    """
    place = _coordinates(rng, heights, size)
    step = float(heights[1] - heights[0]) if len(heights) > 1 else 1.0
    fields = {name: _field(rng, place[0].shape, scale, step) for name, scale in _FIELDS.items()}
    radius = _distance(place, (0, 0, 0), (1.05, rng.uniform(0.86, 0.94), rng.uniform(0.68, 0.76)))
    radius = radius + 1 + 0.02 * fields["shape"]
    image = _head(radius, place, fields)
    horns, image = _ventricles(rng, image, place, fields)
    image = _bright_spots(rng, image, place, radius)
    labels = np.where(horns < 0, VENTRICLE, 0).astype(np.uint8)
    if tumour:
        grown, image = _tumour(rng, image, place, radius, fields)
        labels[grown] = TUMOUR
    return np.clip(image * (1 + 0.05 * fields["cloud"]), 0, 1), labels


_FIELDS = {"folds": 0.045, "cloud": 0.12, "shape": 0.11}  # what a random field is for, and its grain


def _coordinates(
    rng: np.random.Generator, heights: NDArray[np.float64], size: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Return height, forward-to-back and left-to-right position of every pixel of a slightly turned head."""
    rows, columns = (np.linspace(-side, side, side) / max(size) for side in size)
    z, y, x = np.meshgrid(heights, rows, columns, indexing="ij", sparse=True)
    angle, (down, right) = rng.uniform(-0.12, 0.12), rng.uniform(-0.03, 0.03, 2)
    y, x = y - down, x - right
    turned = (y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle))
    z, y, x = np.broadcast_arrays(z, *turned)
    return z.astype(np.float32), y.astype(np.float32), x.astype(np.float32)


def _field(rng: np.random.Generator, shape: tuple[int, ...], scale: float, step: float) -> Floats:
    """Return a smooth random field, (D, H, W), of unit variance."""
    pixels = scale * max(shape[1:]) / 2
    noise = rng.standard_normal(shape, np.float32)
    smooth: Floats = ndimage.gaussian_filter(noise, (scale / step, pixels, pixels), truncate=2.5)
    return smooth / smooth.std()


def _distance(
    place: tuple[NDArray[np.floating], ...], centre: tuple[float, ...], radii: tuple[float, ...]
) -> Floats:
    """Return the distance to an ellipsoid's surface, as a share of its radius: -1 in the middle."""
    squares = (((p - c) / r) ** 2 for p, c, r in zip(place, centre, radii, strict=True))
    return np.asarray(np.sqrt(sum(squares)) - 1, np.float32)


def _paint(image: Floats, distance: Floats, value: float | Floats, edge: float) -> Floats:
    """Lay a value over the inside of a shape; `edge` is the width of the transition."""
    cover = np.clip(0.5 - distance / edge, 0, 1)
    return np.asarray(image + cover * (value - image), np.float32)


def _head(radius: Floats, place: tuple[Floats, ...], fields: dict[str, Floats]) -> Floats:
    _, y, x = place
    folds = fields["folds"]
    image = np.zeros_like(radius)
    for edge, value in ((1.0, 0.7), (0.94, 0.06), (0.875, 0.16)):  # scalp, bone, fluid
        image = _paint(image, radius - edge, value, 0.04)
    image = _paint(image, radius - _BRAIN_EDGE + 0.07 * np.maximum(folds - 0.4, 0), 0.5, 0.04)  # grey matter
    image = _paint(image, radius - 0.66 - 0.07 * folds, 0.38, 0.05)  # white matter
    for side in (-1, 1):
        image = _paint(image, _distance((y, x), (0.05, side * 0.24), (0.2, 0.1)) * 0.1, 0.48, 0.06)
    fissure = np.maximum(np.abs(x) - 0.012, 0.3 - np.abs(y + 0.02))
    return _paint(image, np.maximum(fissure, radius - _BRAIN_EDGE), 0.16, 0.03)


def _ventricles(
    rng: np.random.Generator, image: Floats, place: tuple[Floats, ...], fields: dict[str, Floats]
) -> tuple[Floats, Floats]:
    """Draw the two lateral ventricles, unlike each other, with their plexus and the bright caps around."""
    z, y, x = place
    size, caps = rng.uniform(0.75, 1.35), rng.uniform(0.03, 0.11)
    nearest = np.full_like(x, np.inf)
    for side in (-1, 1):
        own = size * rng.uniform(0.85, 1.15)
        bent = x - side * (0.07 + 0.05 * own + 0.35 * (y + 0.02) ** 2)
        horn = _distance((z, y, bent), (0.08, 0.0, 0.0), (0.5 * own, 0.34 * own, 0.07 * own)) * 0.07
        nearest = np.minimum(nearest, horn + 0.006 * fields["shape"])
        tips = _distance((z, np.abs(y), bent), (0.08, 0.28 * own, 0.0), (0.35, 1.3 * caps, caps)) * caps
        image = _paint(image, tips + 0.01 * fields["shape"], 0.66, 0.05)
    image = _paint(image, nearest, 0.1, 0.025)
    plexus = _distance((y, np.abs(x)), (0.2 * size, 0.15), (0.07, 0.03)) * 0.03
    return nearest, _paint(image, np.maximum(plexus, nearest), 0.75, 0.02)


def _bright_spots(
    rng: np.random.Generator, image: Floats, place: tuple[Floats, ...], radius: Floats
) -> Floats:
    """Draw the sagittal sinus, vessels near the surface and small lesions of the white matter."""
    _, y, x = place
    back = y[np.abs(x) < 0.05]
    edge = 0.9 * float(back[radius[np.abs(x) < 0.05] < _BRAIN_EDGE].max(initial=0.3))
    image = _paint(image, _distance((y, x), (edge, 0.0), (0.05, 0.035)) * 0.035, 0.85, 0.03)
    for _ in range(rng.integers(4, 10)):
        vessel = rng.random() < 0.5
        far, angle = rng.uniform(0.72, 0.8) if vessel else rng.uniform(0.2, 0.6), rng.uniform(0, 2 * np.pi)
        centre = (rng.uniform(-0.5, 0.6), 0.85 * far * np.cos(angle), 0.68 * far * np.sin(angle))
        size = rng.uniform(0.02, 0.035) if vessel else rng.uniform(0.03, 0.06)
        distance = _distance(place, centre, (4 * size if vessel else 2 * size, size, size)) * size
        image = _paint(image, distance, rng.uniform(0.62, 0.85), 0.03)
    return image


def _tumour(
    rng: np.random.Generator,
    image: Floats,
    place: tuple[Floats, ...],
    radius: Floats,
    fields: dict[str, Floats],
) -> tuple[NDArray[np.bool_], Floats]:
    far, angle = rng.uniform(0.3, 0.62), rng.uniform(0.25, np.pi - 0.25) * rng.choice([-1, 1])
    centre = (rng.uniform(-0.25, 0.4), 0.8 * far * np.cos(angle), 0.68 * far * np.sin(angle))
    mean = rng.uniform(0.17, 0.3)
    radii = (0.36, *(mean * rng.uniform(0.8, 1.25, 2)))
    distance = mean * (_distance(place, centre, radii) + rng.uniform(0.1, 0.2) * fields["shape"])
    distance = np.maximum(distance, (radius - _BRAIN_EDGE) * 0.7)
    bright = rng.uniform(0.64, 0.84) + 0.06 * fields["cloud"]
    image = _paint(image, distance, bright, rng.uniform(0.04, 0.09))
    if rng.random() < 0.35:
        image = _paint(image, distance + rng.uniform(0.45, 0.7) * mean, 0.25, 0.05)
    return distance < 0, image


# What is dark and bright in FLAIR, and what the same tissue is in T1, which turns grey and white around.
_FLAIR, _T1 = (0.0, 0.08, 0.16, 0.38, 0.5, 0.66, 1.0), (0.0, 0.1, 0.2, 0.72, 0.55, 0.42, 0.34)
_GREY = 0.5  # what grey matter is in FLAIR
_RIM = 2.5  # pixels of a tumour's border that takes up contrast


def draw_sequences(flair: Floats, tumour: NDArray[np.bool_]) -> Floats:
    """Return a slice before contrast, as it is and after contrast, (3, H, W).

    Contrast brightens grey matter, vessels (the brightest in FLAIR) and the rim of a tumour, the more the
    brighter the tumour is; so what comes after follows from the other two, and from neither alone.

    Args:
        flair: (H, W).
        tumour: (H, W).
    """
    before = np.interp(flair, _FLAIR, _T1).astype(np.float32)
    depth = ndimage.distance_transform_edt(tumour)
    rim = np.clip(1 - np.abs(depth - _RIM) / _RIM, 0, 1) * (depth > 0)
    vessels, grey = np.clip((flair - 0.7) / 0.1, 0, 1), np.exp(-(((flair - _GREY) / 0.06) ** 2))
    taken_up = rim * np.clip(flair - 0.4, 0, None) + (0.5 * vessels + 0.2 * grey) * (depth == 0)
    return np.stack([before, flair, np.clip(before + taken_up, 0, 1)]).astype(np.float32)


def draw_lesion(rng: np.random.Generator, kind: str, side: int) -> Floats:
    """Draw a lesion of the skin, (3, side, side), red first.

    A naevus is even and round, a melanoma irregular and of several colours, a keratosis sharply bounded and
    rough; size, tone and skin tell nothing, and hairs cross all three.
    """
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, side)], indexing="ij")
    shape = (1, side, side)
    cloud, patches, grain = (_field(rng, shape, scale, 1.0)[0] for scale in (0.4, 0.16, 0.035))
    skin = np.array([0.86, 0.66, 0.56]) * rng.uniform(0.72, 1.05) + rng.uniform(-0.03, 0.03, 3)
    image = skin[:, None, None] * (1 + 0.04 * cloud + 0.01 * grain)
    ragged, edge = {"naevus": (0.05, 0.16), "melanoma": (0.17, 0.14), "keratosis": (0.09, 0.07)}[kind]
    radius = rng.uniform(0.3, 0.6)
    centre, radii = rng.uniform(-0.15, 0.15, 2), radius * rng.uniform(0.85, 1.15, 2)
    distance = radius * (_distance((y, x), tuple(centre), tuple(radii)) + ragged * 2 * patches)
    tone = np.array([0.52, 0.34, 0.24]) * rng.uniform(0.7, 1.25)
    inside = tone[:, None, None] * np.ones_like(image)
    if kind == "melanoma":
        second = np.array([[0.2, 0.16, 0.17], [0.4, 0.4, 0.48], [0.6, 0.3, 0.28]])[rng.integers(3)]
        inside = inside + np.clip(patches * 0.7 + 0.2, 0, 1) * (second[:, None, None] - inside)
    if kind == "keratosis":
        inside = inside * (1 + 0.13 * grain)
    inside = inside * (1 + 0.06 * cloud + 0.03 * grain)
    image = image + np.clip(0.5 - distance / edge, 0, 1) * (inside - image)
    for _ in range(rng.integers(0, 4)):
        image = _hair(rng, image, y, x)
    return np.clip(image, 0, 1).astype(np.float32)


def _hair(
    rng: np.random.Generator, image: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    angle, offset, bend = rng.uniform(0, np.pi), rng.uniform(-0.8, 0.8), rng.uniform(-0.3, 0.3)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    cover = np.clip(1 - np.abs(across - offset - bend * along**2) / 0.03, 0, 1)
    return image * (1 - 0.5 * cover)
