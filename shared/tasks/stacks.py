"""What runs the networks of a task whose samples are bags or series of instances."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from shared.batch import Batch, Prediction
from shared.networks.aggregator_modules import ATTENTION, OUTPUT, Aggregated
from shared.tasks.base import Models, Statistics, Task
from shared.tasks.fields import PIXELS
from shared.tasks.look import Shown
from shared.tasks.stack_options import AGGREGATOR, ENCODER, MOMENTS, StackTable

VIEWS = "views"
_SHOWN = 4  # instances of a sample
_SAME = 1e-12  # of a squared mean: a variance below it is of rounding
_AT_ONCE = 64  # instances in an encoder at a time, where no gradient needs all of what it computes


class Stacks:
    """From the instances of a batch to one output for each sample.

    Args:
        table: The job's.
    """

    def __init__(self, table: StackTable) -> None:
        self._table = table
        self.name = table.kind

    def forward(self, models: Models, batch: Batch) -> Aggregated:
        """Return what the last network says of each sample: see `shared.networks.aggregator_modules`."""
        stacks: Sequence[Tensor] = batch[self.name]
        lacking = [_are_lacking(stack) for stack in stacks] if self.name == VIEWS else None
        if ENCODER in models:
            counts = [len(stack) for stack in stacks]
            there = None if lacking is None else ~torch.cat(lacking)
            stacks = _encoded(models[ENCODER], torch.cat(list(stacks)), there).split(counts)
        instances, present = padded(stacks)
        if lacking is not None:
            present = present & ~torch.stack(lacking)
        found: Aggregated = models[AGGREGATOR if ENCODER in models else "model"](instances, present)
        return found

    def attention(self, predicted: Prediction, batch: Batch, number: int) -> Tensor | None:
        """Return the share of the attention (N,) of each instance of a sample; None where there is none."""
        if ATTENTION not in predicted:
            return None
        return predicted[ATTENTION][number, : len(batch[self.name][number])].float().cpu()

    def pictures(self, predicted: Prediction, batch: Batch, number: int) -> tuple[Shown, ...]:
        """Return a few instances of a sample, in their order: where there is attention, those with the most.

        Vectors can't be seen: of them there are none.
        """
        stack = batch[self.name][number]
        if self.name not in PIXELS:
            return ()
        attention = self.attention(predicted, batch, number)
        word, there = self._table.word, (~_are_lacking(stack)).nonzero()[:, 0].cpu()
        few = min(_SHOWN, len(there))
        if attention is None:
            chosen = there[torch.linspace(0, len(there) - 1, few).round().long()].tolist()
            titles = [word(place) for place in chosen]
        else:
            chosen = sorted(there[attention[there].topk(few).indices].tolist())
            titles = [f"{word(place)}: {attention[place]:.2f}" for place in chosen]
        images = (stack[place].float().cpu().numpy() for place in chosen)
        return tuple(Shown(title, image) for title, image in zip(titles, images, strict=True))

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return what samples add to the statistics: bags count alike, however many instances they have.

        Of each number the mean of a bag, and its variance within the bag: what is added to either by a
        hospital's noise makes no difference of them negative.
        """
        if not self._table.is_scaled:
            return {}
        bags = [bag.double() for bag in batch[self.name]]
        return {MOMENTS: torch.stack([torch.cat([bag.mean(0), bag.var(0, correction=0)]) for bag in bags])}

    def scaled(self, batch: Batch, statistics: Statistics) -> Batch:
        """Return a batch whose vectors have mean 0 and deviation 1 over all sites, where the job asks for it.

        A number that is the same everywhere becomes 0.
        """
        if not self._table.is_scaled:
            return batch
        count, total, squares = torch.from_numpy(statistics[MOMENTS]).unbind(1)
        both = total / count.clamp(min=1)
        means, within = both.tensor_split(2)
        between = (squares / count.clamp(min=1) - both.square())[: len(means)]
        variances = between.clamp(min=0) + within.clamp(min=0)
        varies = variances > _SAME * means.square().clamp(min=_SAME)
        deviations = torch.where(varies, variances, 1.0).sqrt()
        bags = [((bag.double() - means) / deviations).float() for bag in batch[self.name]]
        return batch.plus(**{self.name: bags})


class StackedTask(Task):
    """What a task does otherwise where its samples are bags or series: it stands before its base class.

    Attributes:
        stacks: Set when it is made.
        output: Name of the tensor (B, K) that the networks of one image would give.
    """

    stacks: Stacks
    output: ClassVar[str] = "logits"

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """See the base class: of vectors, their scale."""
        return {**super().measure(batch), **self.stacks.measure(batch)}

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """See the base class: vectors are brought to one scale."""
        return self.stacks.scaled(super().prepare(batch, seed), self.statistics)

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Return the output, and what else the aggregator says of the instances."""
        found = dict(self.stacks.forward(models, batch))
        return {self.output: found.pop(OUTPUT), **found}


def padded(stacks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the stacks (N_i, ...) of B samples as one tensor (B, N, ...), and which are there (B, N)."""
    counts = torch.tensor([len(stack) for stack in stacks])
    there = torch.arange(int(counts.max())) < counts[:, None]
    return pad_sequence(list(stacks), batch_first=True), there.to(stacks[0].device)


def _are_lacking(stack: Tensor) -> Tensor:
    """Return which views of a stack (V, ...) a row has not, (V,)."""
    return stack.flatten(1).isnan().all(dim=1)


def _encoded(encoder: nn.Module, instances: Tensor, there: Tensor | None) -> Tensor:
    """Return the features (N, F) of instances (N, ...); 0 of those that are not there (N,)."""
    if there is not None:
        found = _encoded(encoder, instances[there], None)
        return found.new_zeros(len(instances), found.shape[1]).index_put((there.nonzero()[:, 0],), found)
    needs_all = torch.is_grad_enabled() and any(own.requires_grad for own in encoder.parameters())
    if needs_all:
        features: Tensor = encoder(instances)
        return features
    return torch.cat([encoder(part) for part in instances.split(_AT_ONCE)])
