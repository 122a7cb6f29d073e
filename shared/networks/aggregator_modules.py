"""From the vectors of bags or series to one output each; loads PyTorch.

Every module is called with the instances (B, N, F), padded behind the last one of each sample, and with which
of them are there (B, N). It returns named tensors: `OUTPUT` (B, K); where it weighs the instances `ATTENTION`
(B, N), whose sum is 1; where it tells them apart `CLUSTERS`, see `CLAM`. What is padded changes nothing.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from shared.networks.options import Ends

OUTPUT, ATTENTION, CLUSTERS = "output", "attention", "clusters"
"""Names of what they return."""

Aggregated = Mapping[str, Tensor]


class Aggregator(nn.Module):
    """The layers that see each instance by itself.

    Attributes:
        width: Features that they give.
    """

    def __init__(self, ends: Ends, hidden: list[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([ends.channels, *hidden]):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.width = [ends.channels, *hidden][-1]


class Pooling(Aggregator):
    """The mean, or the largest, of the outputs of all instances."""

    def __init__(self, ends: Ends, hidden: list[int], dropout: float, *, largest: bool) -> None:
        super().__init__(ends, hidden, dropout)
        self.head = nn.Linear(self.width, ends.outputs)
        self._largest = largest

    def forward(self, instances: Tensor, there: Tensor) -> Aggregated:
        """See the module."""
        outputs, kept = self.head(self.layers(instances)), there[..., None]
        if self._largest:
            return {OUTPUT: outputs.masked_fill(~kept, -math.inf).amax(dim=1)}
        return {OUTPUT: (outputs * kept).sum(dim=1) / kept.sum(dim=1)}


class Scores(nn.Module):
    """How much attention instances deserve, before it is brought to a sum of 1 (Ilse et al. 2018).

    w^T (tanh(V h) * sigmoid(U h)) of equation 9 where it is gated, w^T tanh(V h) of equation 8 otherwise.

    Args:
        width: Features of an instance h.
        attention: Rows of V and U.
        gated: Whether there is U.
        outputs: Vectors w, each of which gives a score.
    """

    def __init__(self, width: int, attention: int, *, gated: bool, outputs: int = 1) -> None:
        super().__init__()
        self.tanh = nn.Linear(width, attention)
        self.gate = nn.Linear(width, attention) if gated else None
        self.score = nn.Linear(attention, outputs)

    def forward(self, instances: Tensor, there: Tensor) -> Tensor:
        """Return the scores (B, N, outputs) of instances (B, N, F), minus infinity where none is."""
        seen = self.tanh(instances).tanh()
        if self.gate is not None:
            seen = seen * self.gate(instances).sigmoid()
        scores: Tensor = self.score(seen)
        return scores.masked_fill(~there[..., None], -math.inf)


class AttentionMIL(Aggregator):
    """The sum of the instances, weighed by attention, then a linear layer."""

    def __init__(self, ends: Ends, hidden: list[int], dropout: float, attention: int, *, gated: bool) -> None:
        super().__init__(ends, hidden, dropout)
        self.scores = Scores(self.width, attention, gated=gated)
        self.head = nn.Linear(self.width, ends.outputs)

    def forward(self, instances: Tensor, there: Tensor) -> Aggregated:
        """See the module."""
        return weighed(self.layers(instances), there, self.scores, self.head)


def weighed(instances: Tensor, there: Tensor, scores: Scores, head: nn.Module) -> Aggregated:
    """Return the output for the sum of instances (B, N, F) by attention, and the attention."""
    attention = scores(instances, there)[..., 0].softmax(dim=1)
    whole = (attention[..., None] * instances).sum(dim=1)
    return {OUTPUT: head(whole), ATTENTION: attention}


class Transformer(Aggregator):
    """Layers of self-attention between the instances, then attention as of `AttentionMIL`, not gated.

    Of a series, and of views, each instance is given its place by sines and cosines (Vaswani et al. 2017).
    """

    def __init__(
        self, ends: Ends, hidden: list[int], dropout: float, *, layers: int, heads: int, attention: int
    ) -> None:
        super().__init__(ends, hidden, dropout)
        layer = nn.TransformerEncoderLayer(self.width, heads, 2 * self.width, dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.scores = Scores(self.width, attention, gated=False)
        self.head = nn.Linear(self.width, ends.outputs)
        self._ordered = ends.stack != "bag"

    def forward(self, instances: Tensor, there: Tensor) -> Aggregated:
        """See the module."""
        seen = self.layers(instances)
        if self._ordered:
            seen = seen + places(seen.shape[1], self.width).to(seen)
        seen = self.transformer(seen, src_key_padding_mask=~there)
        return weighed(seen, there, self.scores, self.head)


def places(count: int, width: int) -> Tensor:
    """Return a vector for each place, (count, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class JoinedViews(Aggregator):
    """All views side by side, with a learned token in place of one that is lacking, then linear layers.

    A token is the weight of a linear layer whose input is 1, so that the gradient of each sample is known. In
    training further views are left out by chance; one at least of each sample stays.
    """

    def __init__(
        self, ends: Ends, hidden: list[int], dropout: float, *, joined: list[int], drop_view: float
    ) -> None:
        super().__init__(ends, hidden, dropout)
        self.tokens = nn.ModuleList(nn.Linear(1, self.width, bias=False) for _ in range(ends.views))
        layers: list[nn.Module] = []
        for before, after in pairwise([ends.views * self.width, *joined]):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.joined = nn.Sequential(*layers)
        self.head = nn.Linear([ends.views * self.width, *joined][-1], ends.outputs)
        self._drop_view = drop_view

    def forward(self, instances: Tensor, there: Tensor) -> Aggregated:
        """See the module."""
        if self.training and self._drop_view:
            drawn = torch.rand(there.shape, device=there.device).masked_fill(~there, -1)
            there = there & ((drawn >= self._drop_view) | (drawn == drawn.amax(dim=1, keepdim=True)))
        seen, lacking = self.layers(instances), (~there).to(instances)[..., None]
        tokens = torch.stack(
            [token(own) for token, own in zip(self.tokens, lacking.unbind(1), strict=True)], 1
        )
        return {OUTPUT: self.head(self.joined((seen * (1 - lacking) + tokens).flatten(1)))}


class CLAM(Aggregator):
    """Attention for each class, and for each class a classifier of instances.

    As in CLAM with one branch for each class (Lu et al. 2021, "Data-efficient and weakly supervised
    computational pathology on whole-slide images"), but for the loss of the clusters: cross-entropy in place
    of a smooth SVM.
    `CLUSTERS` (B, K, 2) is that loss for each class: if the bag is of the class, where the instances that get
    the most attention should be told from those that get the least; and if it is not, where the former are
    false evidence. `ATTENTION` is that of the class with the highest output.
    """

    def __init__(
        self,
        ends: Ends,
        hidden: list[int],
        dropout: float,
        *,
        attention: int,
        picked: int,
        cluster_weight: float,
    ) -> None:
        super().__init__(ends, hidden, dropout)
        self.scores = Scores(self.width, attention, gated=True, outputs=ends.outputs)
        self.head = nn.Linear(self.width, ends.outputs)
        self.clusters = nn.Linear(self.width, 2 * ends.outputs)
        self._picked, self._weight = picked, cluster_weight

    def forward(self, instances: Tensor, there: Tensor) -> Aggregated:
        """See the module."""
        seen = self.layers(instances)
        attention = self.scores(seen, there).softmax(dim=1)
        wholes = torch.einsum("bnk,bnf->bkf", attention, seen)
        output = (wholes * self.head.weight).sum(dim=2) + self.head.bias
        likeliest = output.argmax(dim=1)[:, None, None].expand(-1, attention.shape[1], 1)
        return {
            OUTPUT: output,
            ATTENTION: attention.gather(2, likeliest)[..., 0],
            CLUSTERS: self._weight * self._cluster_losses(seen, attention, there),
        }

    def _cluster_losses(self, seen: Tensor, attention: Tensor, there: Tensor) -> Tensor:
        evidence = self.clusters(seen).unflatten(2, (-1, 2)).log_softmax(dim=3)  # (B, N, K, 2)
        order = attention.masked_fill(~there[..., None], -1).argsort(dim=1, descending=True)
        rank = order.argsort(dim=1)
        count = there.sum(dim=1)[:, None, None]
        picked = (count // 2).clamp(min=1, max=self._picked)
        most = rank < picked
        least = (rank >= count - picked) & (rank < count) & ~most
        inside = (_mean(-evidence[..., 1], most) + _mean(-evidence[..., 0], least)) / 2
        return torch.stack([inside, _mean(-evidence[..., 0], most)], dim=2)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean (B, K) of the values (B, N, K) that are chosen; 0 where none is."""
    return torch.where(chosen, values, 0.0).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)


class Recurrent(Aggregator):
    """A recurrent network, and a linear layer on its last step or on all by attention."""

    def __init__(
        self,
        ends: Ends,
        hidden: list[int],
        dropout: float,
        cell: str,
        *,
        features: int,
        layers: int,
        both_ways: bool,
        attention: int | None,
    ) -> None:
        super().__init__(ends, hidden, dropout)
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        between = dropout if layers > 1 else 0.0
        self.steps = kind(
            self.width, features, layers, batch_first=True, dropout=between, bidirectional=both_ways
        )
        width = features * (1 + both_ways)
        self.scores = None if attention is None else Scores(width, attention, gated=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, ends.outputs)
        self._ways = 1 + both_ways

    def forward(self, instances: Tensor, there: Tensor) -> Aggregated:
        """See the module."""
        seen, counts = self.layers(instances), there.sum(dim=1).cpu()
        found, last = self.steps(pack_padded_sequence(seen, counts, batch_first=True, enforce_sorted=False))
        if self.scores is None:
            last = last[0] if isinstance(last, tuple) else last
            return {OUTPUT: self.head(self.dropout(last[-self._ways :].transpose(0, 1).flatten(1)))}
        steps, _ = pad_packed_sequence(found, batch_first=True)
        return weighed(self.dropout(steps), there, self.scores, self.head)
