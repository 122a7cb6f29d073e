"""Restricted Boltzmann machines, one on the other; loads PyTorch."""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from shared.networks.options import Ends

_SPREAD = (
    0.01  # of the first weights (Hinton 2012, "A practical guide to training restricted Boltzmann machines")
)


class BeliefNetwork(nn.Module):
    """From pixels with a deviation of 1 to binary units, layer by layer, then a linear layer.

    Shapes: (B, C, *S) to (B, K). The units of a layer and those below it are one machine, with the energy of
    Gaussian units where those below are pixels, and elsewhere of binary ones. Units below are counted from
    what they are without any above (Montavon and Mueller 2012, "Deep Boltzmann machines and the centering
    trick").

    Attributes:
        layers: From the units below to those above.
        below: The biases of the units below, of each layer: what a linear layer makes of a 1, so that hooks
            which find the gradients of single samples see them.
    """

    def __init__(self, ends: Ends, hidden: list[int], dropout: float) -> None:
        super().__init__()
        units = [ends.channels * math.prod(ends.size), *hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(units))
        self.below = nn.ModuleList(nn.Linear(1, count, bias=False) for count in units[:-1])
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(units[-1], ends.outputs))
        for layer in self.layers:
            nn.init.normal_(cast(nn.Linear, layer).weight, std=_SPREAD)
            nn.init.zeros_(cast(nn.Linear, layer).bias)
        for below in self.below:
            nn.init.zeros_(cast(nn.Linear, below).weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return what the last layer says of images."""
        return cast(Tensor, self.head(self.up(images, len(self.layers))))

    def up(self, images: Tensor, depth: int) -> Tensor:
        """Return the values (B, N) of the units below a layer: pixels, or the chances of units to be 1."""
        values = images.flatten(1)
        for number in range(depth):
            values = self._pushed_up(values, number).sigmoid()
        return values

    def down(self, values: Tensor, depth: int) -> Tensor:
        """Return the pixels (B, N) that values of the units below a layer stand for."""
        for number in reversed(range(depth)):
            values = self._pulled_down(values, number)
            values = values if number == 0 else values.sigmoid()
        return values

    def free_energy(self, values: Tensor, depth: int) -> Tensor:
        """Return the free energy (B,) of the units below a layer."""
        above = functional.softplus(self._pushed_up(values, depth)).sum(dim=1)
        if depth == 0:
            return (values - self._bias(values, 0)).square().sum(dim=1) / 2 - above
        return -(values * self._bias(values, depth)).sum(dim=1) - above

    @torch.no_grad()
    def chain(self, values: Tensor, depth: int, steps: int, sources: list[Generator]) -> Tensor:
        """Return the units below a layer (B, N) after steps of a chain: units above are drawn, chances below.

        Args:
            values: To begin with.
            depth: Of the layer.
            steps: How often they are drawn.
            sources: Of the draws of each sample, in main memory.
        """
        for _ in range(steps):
            chances = self._pushed_up(values, depth).sigmoid()
            drawn = torch.stack([torch.rand(chances.shape[1], generator=source) for source in sources])
            values = self._pulled_down((drawn.to(chances) < chances).to(chances), depth)
            values = values if depth == 0 else values.sigmoid()
        return values

    def _pushed_up(self, values: Tensor, depth: int) -> Tensor:
        bias = self._bias(values, depth)
        alone = bias if depth == 0 else bias.sigmoid()
        return cast(Tensor, self.layers[depth](values - alone))

    def _pulled_down(self, above: Tensor, depth: int) -> Tensor:
        layer = cast(nn.Linear, self.layers[depth])
        return above @ layer.weight + self._bias(above, depth)

    def _bias(self, values: Tensor, depth: int) -> Tensor:
        """Return the biases of the units below a layer for each sample (B, N)."""
        return cast(Tensor, self.below[depth](1 + 0 * values[:, :1]))
