"""Networks that reconstruct in steps; loads PyTorch and MONAI."""

from typing import cast

import torch
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
from monai.apps.reconstruction.networks.nets.utils import (
    reshape_batch_channel_to_channel_dim,
    reshape_channel_to_batch_dim,
)
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from monai.networks.blocks.fft_utils_t import ifftn_centered_t
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from shared.networks.options import Ends

_SLOPE = 0.1  # of the leaky ReLU below 0
_LEAST = 1e-12  # that squares are divided by


class CNNCascade(nn.Module):
    """A network for each step. Shapes: (B, C, *S) to (B, K, *S)."""

    def __init__(self, ends: Ends, stages: int, features: int, layers: int, dropout: float) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, ends.dimensions]

        def stage() -> nn.Sequential:
            inner: list[nn.Module] = [conv(ends.channels, features, 3, padding=1), nn.LeakyReLU(_SLOPE)]
            for _ in range(layers - 2):
                inner += [conv(features, features, 3, padding=1), nn.LeakyReLU(_SLOPE), nn.Dropout(dropout)]
            return nn.Sequential(*inner, conv(features, ends.outputs, 3, padding=1))

        self.stages = nn.ModuleList(stage() for _ in range(stages))

    def forward(self, images: Tensor, step: int) -> Tensor:
        """Return what the network of a step says of images."""
        return cast(Tensor, self.stages[step](images))


class VarNet(nn.Module):
    """MONAI's variational network, which gives the k-space and not the image that it makes of it."""

    def __init__(
        self, dimensions: int, cascades: int, features: list[int], coil_features: list[int], dropout: float
    ) -> None:
        super().__init__()
        coils = CoilSensitivityModel(dimensions, coil_features, dropout=dropout)
        refiner = ComplexUnet(dimensions, features, dropout=dropout)
        self.network = VariationalNetworkModel(coils, refiner, cascades, dimensions)
        for cascade in self.network.cascades:
            cascade.spatial_dims = dimensions  # MONAI leaves it at 2

    def forward(self, samples: Tensor, mask: Tensor, middle: slice) -> Tensor:
        """Return the whole k-space (B, 2 K, *S).

        Args:
            samples: Real and then imaginary parts of K coils (B, 2 K, *S), 0 where nothing was measured.
            mask: Where something was (B, 1, *S), bool.
            middle: Lines of the last axis that are measured in all samples.
        """
        real, imaginary = samples.chunk(2, dim=1)
        measured = torch.stack([real, imaginary], dim=-1)
        maps = self.maps(measured, middle)
        found = measured
        for cascade in self.network.cascades:
            found = cascade(found, measured, mask[..., None], maps)
        return torch.cat([found[..., 0], found[..., 1]], dim=1)

    def maps(self, measured: Tensor, middle: slice) -> Tensor:
        """Return maps (B, K, *S, 2) of samples (B, K, *S, 2), whose squared magnitudes add up to 1.

        MONAI's own forward would divide real and imaginary parts each by their own root of squares, which
        turns their phases (Sriram et al. 2020, section 3.2, divide by the one of complex numbers).
        """
        always = torch.zeros_like(measured)
        always[..., middle, :] = measured[..., middle, :]
        images = ifftn_centered_t(always, spatial_dims=self.network.spatial_dims, is_complex=True)
        each, count = reshape_channel_to_batch_dim(images)
        found = self.network.coil_sensitivity_model.conv_net(each)
        found = reshape_batch_channel_to_channel_dim(found, count)
        squares = found.square().sum((1, -1), keepdim=True)
        return cast(Tensor, found / squares.clamp(min=_LEAST).sqrt())
