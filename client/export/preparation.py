"""What `client/data` makes of an image's pixels, as a program of TorchScript that a bundle carries.

MONAI's transforms resize and pad otherwise, in small things: so the bundle reads and turns images with
MONAI's, and the rest is this program. It is compared with what training does before a bundle is written.
"""

import io

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from shared.errors import RunError
from shared.job.data_options import DataTable


class Preparation(nn.Module):
    """From an image as its file holds it (C, *S), and the size of its pixels in mm, to what a network sees.

    Args:
        data: The job's.
    """

    _size: list[int]
    _spacing: list[float]
    _patch: list[int]

    def __init__(self, data: DataTable) -> None:
        super().__init__()
        self._dimensions, self._channels = data.dimensions, data.channels
        self._colour = data.colour or ""
        self._size = [] if data.size is None else list(data.size)
        self._keeps = data.resize == "keep"
        scaled = data.spacing is not None and (data.size is None or self._keeps)
        self._spacing = list(data.spacing or []) if scaled else []
        self._patch = [] if data.patch is None else list(data.patch)
        self._pads = data.resize == "pad"
        self._intensity = data.intensity
        low, high = data.window or (0.0, 1.0)
        self._low, self._high = float(low), float(high)

    def forward(self, image: Tensor, spacing: Tensor) -> Tensor:
        """Return what the network sees (C, *S), float32."""
        image = self._coloured(image.float())
        before: list[int] = list(image.shape[1:])
        scaled = before
        if len(self._spacing) > 0:
            scaled = [
                max(1, self._rounded(before[axis] * float(spacing[axis]) / self._spacing[axis]))
                for axis in range(self._dimensions)
            ]
        outer = scaled
        if len(self._size) > 0:
            outer = self._size
        inner = outer
        if self._pads and len(self._size) > 0:
            scale = min([outer[axis] / before[axis] for axis in range(self._dimensions)])
            inner = [
                min(outer[axis], max(1, self._rounded(before[axis] * scale)))
                for axis in range(self._dimensions)
            ]
        if self._keeps and len(self._size) > 0:
            inner = scaled
            if any([inner[axis] > outer[axis] for axis in range(self._dimensions)]):  # noqa: C419 (TorchScript)
                raise RuntimeError("the image is larger than the size that the network sees")
        image = self._padded(self._ranged(self._resized(image, inner)), outer)
        self._require_windows(image)
        return image

    def _rounded(self, number: float) -> int:
        return int(torch.round(torch.tensor(number, dtype=torch.float64)).item())

    def _coloured(self, image: Tensor) -> Tensor:
        found = image.shape[0]
        same = found == 3 and bool((image[0] == image[1]).all()) and bool((image[0] == image[2]).all())
        if self._colour == "rgb" and found == 1:
            image = image.repeat([3] + [1] * self._dimensions)
        elif self._colour == "grey" and found == 3 and not same:
            image = (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]).unsqueeze(0)
        elif same and self._channels == 1:
            image = image[:1]
        if image.shape[0] != self._channels:
            raise RuntimeError("the image has another number of channels than the network sees")
        return image

    def _resized(self, image: Tensor, shape: list[int]) -> Tensor:
        if list(image.shape[1:]) == shape:
            return image
        if self._dimensions == 2:
            return interpolate(image.unsqueeze(0), shape, mode="bilinear", antialias=True).squeeze(0)
        for axis in range(3):
            sigma = max(0.0, (image.shape[1 + axis] / shape[axis] - 1) / 2)
            if sigma > 1e-15:
                image = self._blurred(image, 1 + axis, sigma)
        return interpolate(image.unsqueeze(0), shape, mode="trilinear").squeeze(0)

    def _blurred(self, image: Tensor, axis: int, sigma: float) -> Tensor:
        """Return an image after a Gaussian along an axis as SciPy has it: mirrored, cut at 4 deviations."""
        length, radius = image.shape[axis], int(4 * sigma + 0.5)
        places = torch.arange(-radius, length + radius) % (2 * length)
        places = torch.where(places >= length, 2 * length - 1 - places, places)
        weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
        weights = weights / weights.sum()
        smooth = torch.zeros_like(image, dtype=torch.float64)
        for step in range(2 * radius + 1):
            smooth += weights[step] * image.index_select(axis, places[step : step + length])
        return smooth.float()

    def _ranged(self, image: Tensor) -> Tensor:
        flat = image.reshape(image.shape[0], -1)
        shape = [image.shape[0]] + [1] * self._dimensions
        if self._intensity == "none":
            return image
        if self._intensity == "zscore":
            mean = flat.double().mean(dim=1)
            deviation = flat.double().std(dim=1, correction=0)
            deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
            return ((image - mean.view(shape)) / deviation.view(shape)).float()
        if self._intensity == "window":
            return ((image - self._low) / (self._high - self._low)).clamp(0, 1)
        ends = [0.0, 1.0] if self._intensity == "minmax" else [0.01, 0.99]
        low, high = self._quantile(flat, ends[0]).view(shape), self._quantile(flat, ends[1]).view(shape)
        width = torch.where(high > low, high - low, torch.ones_like(low))
        return ((image - low) / width).clamp(0, 1).float()

    def _quantile(self, flat: Tensor, share: float) -> Tensor:
        ordered = flat.sort(dim=1).values
        place = share * (flat.shape[1] - 1)
        below = int(place)
        above = min(below + 1, flat.shape[1] - 1)
        return ordered[:, below].double() + (ordered[:, above] - ordered[:, below]).double() * (place - below)

    def _padded(self, image: Tensor, shape: list[int]) -> Tensor:
        if list(image.shape[1:]) == shape:
            return image
        lowest = image.reshape(image.shape[0], -1).amin(dim=1).view([image.shape[0]] + [1] * self._dimensions)
        whole = lowest.expand([image.shape[0]] + shape).clone()  # noqa: RUF005 (TorchScript)
        part = whole
        for axis in range(self._dimensions):
            first = (shape[axis] - image.shape[1 + axis]) // 2
            part = part.narrow(1 + axis, first, image.shape[1 + axis])
        part.copy_(image)
        return whole

    def _require_windows(self, image: Tensor) -> None:
        """Refuse an image smaller than a window: training saw it as a whole, at a size of its own."""
        larger, same = False, True
        for axis in range(len(self._patch)):
            larger = larger or image.shape[1 + axis] > self._patch[axis]
            same = same and image.shape[1 + axis] == self._patch[axis]
        if len(self._patch) > 0 and not larger and not same:
            raise RuntimeError("the image is smaller than the windows that the network sees")


def preparation_program(data: DataTable) -> bytes:
    """Return the program as a file of TorchScript.

    Raises:
        RunError: What the job does to images is more than it can do.
    """
    if data.landmarks or data.bias_correction:
        raise RunError(
            "moves the values of images to landmarks, or takes out their bias field, which no export does",
            where="[data]",
            remedy="Predict with Wardround itself, or bring the images to this scale before.",
        )
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(Preparation(data)), stream)
    return stream.getvalue()
