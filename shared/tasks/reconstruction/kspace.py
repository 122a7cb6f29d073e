"""Magnetic resonance: k-space of one coil or several, of which some samples are measured.

Transforms are centred and orthonormal. Complex numbers lie in tensors as their real parts and then their
imaginary ones (B, 2 K, *S).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from shared.batch import Batch
from shared.errors import DataError
from shared.tasks.images.metrics import MADE
from shared.tasks.precision import full
from shared.tasks.reconstruction.measurements import Cartesian, KSpace, Radial
from shared.tasks.reconstruction.scanner import Measured, Scanner

SAMPLES, MASK, MAPS = "kspace", "mask", "maps"
_LEAST = 1e-6  # of the brightest pixel: where less is seen no coil is told apart
Draw = Callable[[Sequence[int], Generator], Tensor]
"""(size, source) -> which samples of k-space are measured (*S), bool."""


def to_kspace(image: Tensor) -> Tensor:
    """Return the k-space (B, K, *S) of complex images, its middle at index S // 2."""
    axes = tuple(range(2, image.dim()))
    return torch.fft.fftshift(
        torch.fft.fftn(torch.fft.ifftshift(image, dim=axes), dim=axes, norm="ortho"), dim=axes
    )


def to_image(kspace: Tensor) -> Tensor:
    """Return the complex images (B, K, *S) of a k-space."""
    axes = tuple(range(2, kspace.dim()))
    return torch.fft.fftshift(
        torch.fft.ifftn(torch.fft.ifftshift(kspace, dim=axes), dim=axes, norm="ortho"), dim=axes
    )


def as_complex(values: Tensor) -> Tensor:
    """Return (B, K, *S), complex, of (B, 2 K, *S)."""
    return torch.complex(*full(values).chunk(2, dim=1))


def as_real(values: Tensor) -> Tensor:
    """Return (B, 2 K, *S) of complex (B, K, *S)."""
    return torch.cat([values.real, values.imag], dim=1)


def magnitude(values: Tensor) -> Tensor:
    """Return the root of the sum of squares (B, 1, *S) over real and imaginary parts and coils."""
    squares = values.square().sum(1, keepdim=True)
    return torch.where(squares > 0, squares, 1).sqrt() * (squares > 0)  # whose gradient at 0 is 0


def middle(length: int, centre: float) -> slice:
    """Return which lines of an axis are the middle ones that are always measured."""
    count = max(1, round(centre * length))
    start = length // 2 - count // 2
    return slice(start, start + count)


def lines(size: Sequence[int], options: Cartesian, source: Generator) -> Tensor:
    """Draw lines along the last axis: those of the middle, and as many others as the acceleration leaves."""
    length = size[-1]
    taken = torch.zeros(length, dtype=torch.bool)
    taken[middle(length, options.centre)] = True
    rest = (~taken).nonzero()[:, 0]
    count = min(len(rest), max(0, round(length / options.acceleration) - int(taken.sum())))
    if count and options.pattern == "equispaced":
        gap = len(rest) / count
        start = gap * torch.rand((), generator=source)
        chosen = rest[(start + gap * torch.arange(count)).long().clamp(max=len(rest) - 1)]
    elif count:
        away = (rest - length // 2) / (length / 6)
        weights = (
            torch.exp(-away.square() / 2) + 1e-3 if options.pattern == "gaussian" else torch.ones(len(rest))
        )
        chosen = rest[torch.multinomial(weights, count, generator=source)]
    else:
        chosen = rest[:0]
    taken[chosen] = True
    return taken.expand(*size)


def spokes(size: Sequence[int], options: Radial, source: Generator) -> Tensor:
    """Return the points of the grid that are nearest to spokes through the middle, and the middle itself."""
    first = torch.rand((), generator=source)
    angles = math.pi * (first + torch.arange(options.spokes)) / options.spokes
    reach = torch.arange(-max(size), max(size) + 1) / 2
    places = torch.stack([angles.sin(), angles.cos()])[..., None] * reach
    rows, columns = ((part + length // 2).round().long() for part, length in zip(places, size, strict=True))
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    taken = torch.zeros(*size, dtype=torch.bool)
    taken[rows[inside], columns[inside]] = True
    taken[middle(size[0], options.centre), middle(size[1], options.centre)] = True
    return taken


def coil_maps(coils: int, size: Sequence[int], source: Generator) -> Tensor:
    """Return smooth maps (K, *S), complex: coils around the image, whose squared magnitudes add up to 1.

    Each is a Gaussian around a place on a circle (in the plane of the last two axes), with a linear phase.
    """
    grids = torch.meshgrid(*(torch.linspace(-1, 1, length) for length in size), indexing="ij")
    turn = 2 * math.pi * (torch.arange(coils) + torch.rand((), generator=source)) / coils
    phases = math.pi * (torch.rand(coils, 3, generator=source) - 0.5)
    found = []
    for angle, phase in zip(turn, phases, strict=True):
        away = (grids[-1] - 1.2 * angle.cos()) ** 2 + (grids[-2] - 1.2 * angle.sin()) ** 2
        tilt = phase[0] * grids[-1] + phase[1] * grids[-2] + phase[2]
        found.append(torch.polar(torch.exp(-away / 2), tilt))
    maps = torch.stack(found)
    return maps / maps.abs().square().sum(0, keepdim=True).sqrt()


def estimated_maps(samples: Tensor, centre: float) -> Tensor:
    """Return coil maps (B, K, *S) from the middle of a k-space: its smooth images over their magnitude.

    That is the low-resolution estimate (McKenzie et al. 2002, "Self-calibrating parallel imaging"), not an
    eigenvector method such as ESPIRiT; where the image is dark it says little.
    """
    window = torch.ones(samples.shape[2:])
    for axis, length in enumerate(samples.shape[2:]):
        own = middle(length, centre)
        edge = torch.zeros(length)
        edge[own] = torch.hann_window(own.stop - own.start + 2, periodic=False)[1:-1]
        window = window * edge.view(-1, *[1] * (samples.dim() - 3 - axis))
    smooth = to_image(samples * window.to(samples.device))
    whole = smooth.abs().square().sum(1, keepdim=True).sqrt()
    least = _LEAST * whole.flatten(1).amax(1).view(-1, *[1] * (whole.dim() - 1))
    return smooth / whole.clamp(min=least.clamp(min=1e-12))


class KSpaceScanner(Scanner):
    """Samples of k-space; an image is combined of its coils by their maps.

    Args:
        options: Of the job.
        draw: Which samples are measured.
    """

    def __init__(self, options: KSpace, draw: Draw) -> None:
        self._options = options
        self._draw = draw

    def measure(self, image: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return `kspace` (2 K, *S), 0 where nothing was measured, and `mask` (1, *S)."""
        options, size = self._options, image.shape[1:]
        seen = torch.complex(image, torch.zeros_like(image))
        if options.coils > 1:
            seen = seen * coil_maps(options.coils, size, source)
        return self.sampled(to_kspace(seen[None]), source)

    def sampled(self, kspace: Tensor, source: Generator) -> dict[str, Tensor]:
        """Return the same of a whole k-space (1, K, *S), complex."""
        noise = self._options.noise * torch.randn((2, *kspace.shape), generator=source)
        taken = self._draw(kspace.shape[2:], source)
        return {SAMPLES: as_real((kspace + torch.complex(*noise)) * taken)[0], MASK: taken[None]}

    def truth(self, raw: Tensor) -> Tensor:
        """See the base class: the root of the sum of squares over coils."""
        if not bool(raw[:, -1].all()):
            raise DataError(
                "k-space of a file lacks samples, so there is no true image to learn from or to judge by",
                remedy="`wardround data check` says in how many; leave these rows out.",
            )
        return magnitude(as_real(to_image(as_complex(raw[:, :-1]))))

    def again(self, raw: Tensor, source: Generator) -> dict[str, Tensor]:
        """See the base class."""
        return self.sampled(as_complex(raw[None, :-1]), source)

    def given(self, raw: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        return {SAMPLES: raw[:, :-1], MASK: raw[:, -1:] > 0}

    def direct(self, measured: Measured, size: tuple[int, ...]) -> Tensor:
        """Return the zero-filled image (B, 2, *S), combined of its coils."""
        return as_real(self._combined(as_complex(measured[SAMPLES]), _maps_of(measured)))

    def known(self, measured: Measured) -> dict[str, Tensor]:
        """Return the estimated `maps` (B, 2 K, *S); nothing of a single coil."""
        samples = as_complex(measured[SAMPLES])
        return {MAPS: as_real(estimated_maps(samples, self._options.centre))} if samples.shape[1] > 1 else {}

    @staticmethod
    def _combined(kspace: Tensor, maps: Tensor | None) -> Tensor:
        images = to_image(kspace)
        return images if maps is None else (maps.conj() * images).sum(1, keepdim=True)

    def consistent(self, image: Tensor, batch: Batch) -> Tensor:
        """Return an image (B, 2, *S) with the measured samples in its k-space.

        Schlemper et al. 2018, "A deep cascade of convolutional neural networks for dynamic MR image
        reconstruction", equation 6; of several coils, whose images are combined again after it.
        """
        maps = _maps_of(batch.values)
        return as_real(self._combined(self._kept(image, maps, batch, self._options.consistency), maps))

    def finished(self, image: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the magnitude `image`, and the `kspace` (B, 2 K, *S) of which it is."""
        return self._shown(self._kept(image, _maps_of(batch.values), batch, self._options.consistency))

    def at_once(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See the base class: it gives k-space, in which the measured samples are then put."""
        samples, share = batch[SAMPLES], self._options.consistency
        found = model(samples, batch[MASK], middle(samples.shape[-1], self._options.centre))
        return self._shown(self._mixed(as_complex(found), batch, share))

    @staticmethod
    def _shown(kspace: Tensor) -> dict[str, Tensor]:
        return {MADE: magnitude(as_real(to_image(kspace))), SAMPLES: as_real(kspace)}

    @classmethod
    def _kept(cls, image: Tensor, maps: Tensor | None, batch: Batch, share: float) -> Tensor:
        """Return the k-space (B, K, *S) of an image, where measured brought to what was."""
        whole = as_complex(image)
        return cls._mixed(to_kspace(whole if maps is None else maps * whole), batch, share)

    @staticmethod
    def _mixed(found: Tensor, batch: Batch, share: float) -> Tensor:
        true = as_complex(batch[SAMPLES])
        mixed = true if share == 1 else found + share * (true - found)
        return torch.where(batch[MASK], mixed, found)

    def untrained(self, batch: Batch) -> Tensor:
        """See the base class: the root of the sum of squares over the zero-filled images of all coils."""
        return magnitude(as_real(to_image(as_complex(batch[SAMPLES]))))


def _maps_of(measured: Measured) -> Tensor | None:
    return as_complex(measured[MAPS]) if MAPS in measured else None
