"""Convolutions on each frame of a series, and an LSTM of convolutions over them; loads PyTorch and MONAI."""

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from shared.networks.aggregator_modules import OUTPUT, Aggregated
from shared.networks.modules import cnn_levels
from shared.networks.options import Ends


class ConvLSTM(nn.Module):
    """Frames (B, T, C, *S), of which some are there (B, T), to an output (B, K) for each series.

    Gates of Shi et al. 2015 ("Convolutional LSTM network"), without the weights that the cells have in them
    there (peepholes); the last map that is remembered is averaged over its positions. Frames that are padded
    change nothing.
    """

    def __init__(self, ends: Ends, channels: list[int], features: int, dropout: float) -> None:
        super().__init__()
        self.levels = cnn_levels(ends, channels)
        conv = Conv[Conv.CONV, ends.dimensions]
        self.gates = conv(channels[-1] + features, 4 * features, 3, padding=1)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, ends.outputs))
        self._features = features

    def forward(self, frames: Tensor, there: Tensor) -> Aggregated:
        """See `shared.networks.aggregator_modules`."""
        seen = self.levels(frames[there])
        maps = seen.new_zeros((*there.shape, *seen.shape[1:]))
        maps[there] = seen
        hidden = cell = maps.new_zeros((len(maps), self._features, *maps.shape[3:]))
        for step, present in zip(maps.unbind(1), there.unbind(1), strict=True):
            now_hidden, now_cell = self._step(step, hidden, cell)
            kept = present.view(-1, *[1] * (hidden.dim() - 1))
            hidden, cell = now_hidden.where(kept, hidden), now_cell.where(kept, cell)
        return {OUTPUT: self.head(hidden.flatten(2).mean(2))}

    def _step(self, seen: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates: Tensor = self.gates(torch.cat([seen, hidden], dim=1))
        enter, forget, leave, new = gates.chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cell.tanh(), cell
