"""Displacement fields: what a network's output makes of one, what it moves, and where it folds.

A field (B, D, *S) says for each pixel of the fixed image how far away, in pixels along each axis, the place
in the moving image is that belongs to it: warped(x) = moving(x + field(x)).
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from monai.networks.blocks import DVF2DDF, Warp
from torch import Tensor, nn
from torch.nn import functional

from shared.tasks.precision import full
from shared.tasks.registration.options import AFFINE, FIELD
from shared.tasks.whole_images import padded

Module = TypeVar("Module", bound=nn.Module)

STEPS = 7  # of scaling and squaring: the velocity counts 1 / 2^7 (Dalca et al. 2018)
_MOST = 0.9  # over the number of axes: numbers of a matrix that may not mirror
_MATRIX = 0.1  # of a network's output: one that was just drawn should hardly move anything


class Deformation(nn.Module):
    """Makes a field of what a network gives.

    Args:
        size: Pixels along each axis, S.
        stride: Pixels that share a displacement.
        integrated: Whether the network gives a velocity.
    """

    def __init__(self, size: list[int], stride: int, *, integrated: bool) -> None:
        super().__init__()
        self._size, self._stride = size, stride
        self._integrate: nn.Module = _quietly(lambda: DVF2DDF(STEPS)) if integrated else nn.Identity()

    def forward(self, output: Tensor) -> Tensor:
        """Return the field (B, D, *S) of a map (B, D, *S) in pixels, or of a matrix (B, D (D + 1))."""
        output = full(output)
        if output.dim() == 2:
            return affine_field(output, self._size)
        if self._stride == 1:
            field: Tensor = self._integrate(output)
            return field
        flat = output.dim() == 4
        pool = functional.avg_pool2d if flat else functional.avg_pool3d
        cells = self._integrate(pool(output, self._stride) / self._stride)
        mode = "bilinear" if flat else "trilinear"
        return functional.interpolate(cells, self._size, mode=mode, align_corners=False) * self._stride


def affine_field(numbers: Tensor, size: list[int]) -> Tensor:
    """Return the field of matrices (B, D (D + 1)): a linear part and a shift, in shares of half the size."""
    axes = len(size)
    lines = [torch.linspace(-1, 1, pixels, device=numbers.device, dtype=numbers.dtype) for pixels in size]
    place = torch.stack([*torch.meshgrid(*lines, indexing="ij"), torch.ones(size).to(numbers)])
    matrix = _MATRIX * numbers.view(-1, axes, axes + 1)
    half = (torch.tensor(size) - 1).to(numbers) / 2
    return torch.einsum("bdk,k...->bd...", matrix * half[:, None], place)


def unmirrored(numbers: Tensor, axes: int) -> Tensor:
    """Return the numbers of matrices (B, D (D + 1)) within bounds in which none mirrors an image or loses it.

    A head is nearly its own mirror image, so intensities alone don't forbid it. Each number of the linear
    part stays within 0.9 / D, so that the matrix is diagonally dominant, and its determinant above 0; so does
    the shift, in shares of half the image.
    """
    most = _MOST / (axes * _MATRIX)
    return most * (numbers / most).tanh()


def after_affine(numbers: Tensor, field: Tensor) -> Tensor:
    """Return the field of two steps in one: the moving image by a matrix, then the result by a field.

    warped(x) = moving(x + u(x) + a(x + u(x))), and a, the field of the matrix, is linear: the moving image is
    interpolated once.

    Args:
        numbers: Of the matrix (B, D (D + 1)), as `affine_field` takes them.
        field: u (B, D, *S), in pixels.
    """
    size, axes = list(field.shape[2:]), field.shape[1]
    half = (torch.tensor(size) - 1).to(field) / 2
    linear = _MATRIX * numbers.view(-1, axes, axes + 1)[..., :axes] * half[:, None] / half
    return affine_field(numbers, size) + field + torch.einsum("bdk,bk...->bd...", linear, field)


@dataclass(frozen=True)
class Fields:
    """What networks say of two images, each (B, D, *S).

    Attributes:
        whole: From the fixed image to the moving one.
        own: Of the network for each pixel alone; `whole` where there is no matrix before it.
        affine: Of the matrix alone, where it comes before.
    """

    whole: Tensor
    own: Tensor
    affine: Tensor | None = None


def fields_of(
    models: Mapping[str, nn.Module],
    fixed: Tensor,
    moving: Tensor,
    deformation: Deformation,
    moves: "Moves",
    *,
    is_matrix: bool,
) -> Fields:
    """Return the fields of images (B, C, *S).

    Args:
        models: One, or by `AFFINE` and `FIELD` one for a matrix, and one that sees the moving image as the
            matrix has moved it.
        fixed: Stays.
        moving: Is to be moved.
        deformation: Makes a field of what a network gives.
        moves: Moves images.
        is_matrix: Whether an only network gives a matrix.
    """
    seen = torch.cat([fixed, moving], dim=1)
    if AFFINE not in models:
        [model] = models.values()
        whole = deformation(model(seen) if is_matrix else padded(model, seen))
        return Fields(whole, whole)
    numbers = unmirrored(full(models[AFFINE](seen)), fixed.dim() - 2)
    affine = affine_field(numbers, list(fixed.shape[2:]))
    own = deformation(padded(models[FIELD], torch.cat([fixed, moves.image(moving, affine)], dim=1)))
    return Fields(after_affine(numbers, own), own, affine)


class Moves(nn.Module):
    """Brings the moving image, or its structures, onto the fixed one."""

    def __init__(self) -> None:
        super().__init__()
        self._linear = _quietly(lambda: Warp("bilinear", "border"))
        self._shares = _quietly(lambda: Warp("bilinear", "zeros"))
        self._nearest = _quietly(lambda: Warp("nearest", "zeros"))

    def image(self, image: Tensor, field: Tensor) -> Tensor:
        """Return an image (B, C, *S) as it is moved; beyond the edge its border goes on."""
        moved: Tensor = self._linear(full(image), field)
        return moved

    def shares(self, masks: Tensor, field: Tensor) -> Tensor:
        """Return how much of each structure (B, K, *S), 0 to 1, comes to lie in each pixel."""
        moved: Tensor = self._shares(masks, field)
        return moved

    def labels(self, mask: Tensor, field: Tensor) -> Tensor:
        """Return a mask (B, *S) as it is moved; beyond the edge is background."""
        moved: Tensor = self._nearest(mask[:, None].float(), field)
        return moved[:, 0].to(mask.dtype)

    def forward(self, image: Tensor, field: Tensor) -> Tensor:
        """See `image`."""
        return self.image(image, field)


def points_moved(points: Tensor, field: Tensor) -> Tensor:
    """Return where places of the fixed image (N, D) belong in the moving one.

    Args:
        points: In pixels from the image's edge, so that 0.5 is the middle of the first.
        field: Of one sample (D, *S); linear between pixels.
    """
    size = torch.tensor(field.shape[1:]).to(points)
    place = (2 * points / size - 1).flip(1).view(1, -1, *[1] * (len(size) - 1), len(size))
    found = functional.grid_sample(field[None], place.to(field), padding_mode="border", align_corners=False)
    return points + found[0].flatten(1).T.to(points)


def folded(field: Tensor) -> Tensor:
    """Return the share (B,) of pixels where a field folds: where its Jacobian determinant is not above 0."""
    axes = field.shape[1]
    slopes = torch.stack(torch.gradient(field, dim=list(range(2, 2 + axes))), dim=2)  # (B, D, D, *S)
    jacobian = slopes.movedim((1, 2), (-2, -1)) + torch.eye(axes).to(field)
    return (torch.linalg.det(jacobian) <= 0).flatten(1).double().mean(1)


def _quietly(make: Callable[[], Module]) -> Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MONAI says that it has no compiled part
        return make()
