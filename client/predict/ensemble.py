"""Several finished runs asked as one: the mean of what their models give each class."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from client.training.loop import place_model
from shared.errors import RunError
from shared.finished_run import FinishedRun, Which
from shared.networks.build import Networks
from shared.tasks.fields import fields_of
from shared.tasks.options import CLASS_COUNTS

Member = tuple[FinishedRun, Which | int]
"""A run, and which of its models: the best, the last, or that of a round."""

_NOTHING = np.empty(0)


class MeanOfProbabilities(nn.Module):
    """Gives logits whose probabilities are the means of those of several networks (Breiman 1996, bagging).

    Args:
        members: Networks from the same input to logits (B, K, ...).
        several: Whether a sample may have several classes, each with a probability of its own.
    """

    def __init__(self, members: Sequence[nn.Module], *, several: bool) -> None:
        super().__init__()
        self._members = nn.ModuleList(members)
        self._several = several
        self.divisor = math.lcm(*(int(getattr(member, "divisor", 1)) for member in members))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, ...)."""
        logits = torch.stack([member(images) for member in self._members]).float()
        log_mean = math.log(len(logits))
        if not self._several:
            return logits.log_softmax(dim=2).logsumexp(dim=0) - log_mean
        yes, no = nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits)
        return yes.logsumexp(dim=0) - no.logsumexp(dim=0)


def rounds_of(run: FinishedRun, rounds: int) -> list[Member]:
    """Return the models of the last rounds of a run.

    Args:
        run: Whose job keeps them.
        rounds: How many.
    """
    return [(run, round_) for round_ in range(run.rounds - rounds + 1, run.rounds + 1)]


def joined(asked: Sequence[Member], device: torch.device) -> nn.Module:
    """Return several models as one network, placed; a single one as it is.

    Args:
        asked: Runs, and which model of each. The first one says how images are prepared and answers written.
        device: Where it is to be.

    Raises:
        RunError: They answer other questions, or prepare images in another way, or give no probabilities, or
            one is not there.
    """
    first, runs = asked[0][0], [run for run, _ in asked]
    members = [place_model(run.model(torch.device("cpu"), which), run.job, device) for run, which in asked]
    if len(members) == 1:
        return members[0]
    classified = first.job.task.classified()
    if classified is None or any(isinstance(member, Networks) for member in members):
        raise RunError(
            f"can't be asked with others: '{first.job.task.name}' gives no probabilities of one network, of "
            "which there would be a mean",
            where=first.path,
        )
    for run in runs[1:]:
        if (differing := _differing(first, run)) is not None:
            raise RunError(
                f"can't be asked together with {first.path}: {differing} differ",
                where=run.path,
                remedy="Take runs of the same question whose images are prepared alike.",
            )
    return MeanOfProbabilities(members, several=classified[1].several)


def _differing(first: FinishedRun, other: FinishedRun) -> str | None:
    """Return what keeps two runs from being asked together; None where they can be."""
    if fields_of(first.job) != fields_of(other.job) or first.job.task.name != other.job.task.name:
        return "the classes or the columns of [task]"
    one, two = (run.job.data.model_dump(exclude={"augment", "patch"}) for run in (first, other))
    if one != two:
        return "in [data], " + " and ".join(sorted(key for key in one if one[key] != two[key])) + ","
    names = (first.statistics.keys() | other.statistics.keys()) - {CLASS_COUNTS}  # which training alone needs
    mine, theirs = first.statistics, other.statistics
    if not all(np.array_equal(mine.get(name, _NOTHING), theirs.get(name, _NOTHING)) for name in names):
        return "the sums over all hospitals by which samples are prepared"
    return None
