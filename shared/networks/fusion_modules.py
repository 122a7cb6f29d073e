"""Modules that bring together the features of an image and those of a record; loads PyTorch."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Features (B, F) of an image and of a record, and which of them a row lacks, to a vector (B, K).

    What is lacking is a token that is learnt. It is the weight of a linear layer whose input is 1 where the
    features are lacking, so that the gradient of each sample is known (`client.training.clipping`).

    Args:
        features: F, of each input.
        outputs: K.
        hidden: Features of each layer behind the fusion but the last.
        dropout: Share of the activations dropped there in training.
        drop_input: Share of the samples that lose one of the inputs in training.
    """

    def __init__(
        self, features: int, outputs: int, hidden: Sequence[int], dropout: float, drop_input: float
    ) -> None:
        super().__init__()
        self.features, self._drop_input = features, drop_input
        self.tokens = nn.ModuleList(nn.Linear(1, features, bias=False) for _ in range(2))
        for token in self.tokens:
            nn.init.zeros_(cast(nn.Linear, token).weight)
        layers: list[nn.Module] = []
        for before, after in pairwise([self.fused_features, *hidden]):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(*layers, nn.Linear([self.fused_features, *hidden][-1], outputs))

    @property
    def fused_features(self) -> int:
        """Numbers that `fused` gives."""
        return self.features

    @abstractmethod
    def fused(self, image: Tensor, record: Tensor) -> Tensor:
        """Return the features of both (B, `fused_features`)."""

    def forward(self, image: Tensor, record: Tensor, lacking: Tensor) -> Tensor:
        """Return the vector (B, K).

        Args:
            image: Features (B, F); what they are where the image is lacking does not matter.
            record: Features (B, F), likewise.
            lacking: 1 where a row has no image, and where it has no record (B, 2).
        """
        if self.training and self._drop_input:
            lacking = lacking + (1 - lacking) * self._dropped(lacking)
        given = [
            features * (1 - without) + token(without)
            for features, token, without in zip(
                (image, record), self.tokens, lacking.split(1, dim=1), strict=True
            )
        ]
        return cast(Tensor, self.head(self.fused(*given)))

    def _dropped(self, lacking: Tensor) -> Tensor:
        """Draw for some samples that have both inputs the one that they lose (B, 2)."""
        drawn = torch.rand(len(lacking), 2, device=lacking.device)
        loses = (drawn[:, :1] < self._drop_input) & (lacking.detach().sum(dim=1, keepdim=True) == 0)
        first = drawn[:, 1:] < 0.5
        return (loses & torch.cat([first, ~first], dim=1)).to(lacking)


class Concat(Fusion):
    """The features side by side: with one linear layer behind them, the sum of what each says."""

    @property
    def fused_features(self) -> int:
        """See the base class."""
        return 2 * self.features

    def fused(self, image: Tensor, record: Tensor) -> Tensor:
        """See the base class."""
        return torch.cat([image, record], dim=1)


class Film(Fusion):
    """The record scales and shifts each feature of the image (Perez et al., AAAI 2018), then a ReLU.

    Their layer does so with the maps within the image's network. Behind the mean over positions, where the
    features are, it is the same as with the last map.
    """

    def __init__(
        self, features: int, outputs: int, hidden: Sequence[int], dropout: float, drop_input: float
    ) -> None:
        super().__init__(features, outputs, hidden, dropout, drop_input)
        self.scale, self.shift = nn.Linear(features, features), nn.Linear(features, features)

    def fused(self, image: Tensor, record: Tensor) -> Tensor:
        """See the base class."""
        return torch.relu(image * (1 + self.scale(record)) + self.shift(record))


class Gated(Fusion):
    """A gate of both says for each feature how much it is the image's (Arevalo et al. 2017, equation 1)."""

    def __init__(
        self, features: int, outputs: int, hidden: Sequence[int], dropout: float, drop_input: float
    ) -> None:
        super().__init__(features, outputs, hidden, dropout, drop_input)
        self.image, self.record = nn.Linear(features, features), nn.Linear(features, features)
        self.gate = nn.Linear(2 * features, features)

    def fused(self, image: Tensor, record: Tensor) -> Tensor:
        """See the base class."""
        share = self.gate(torch.cat([image, record], dim=1)).sigmoid()
        return share * self.image(image).tanh() + (1 - share) * self.record(record).tanh()


MODULES: Mapping[str, type[Fusion]] = {"concat": Concat, "film": Film, "gated": Gated}
"""By the name that a job gives."""
