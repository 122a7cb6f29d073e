"""What federating is measured against: each site alone, and one model on the pooled data.

Both train as many optimiser steps as the federated run: a site alone as many as it trained in the
federation, the pooled model as many as all sites together. Neither is interrupted by rounds: the optimiser
keeps its state.
The best round is chosen on the validation patients and judged on the test patients, as in the federation;
where that averages its last rounds, so do they.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.samples.site_data import Samples, SiteData
from client.training.class_balance import ClassGroups
from client.training.class_counts import statistics_for_loss
from client.training.loop import LocalTraining
from client.training.sample_order import SampleOrder, steps_of
from client.work.hospital import Site
from client.work.warm_networks import Bench, evaluate
from server.rounds.last_rounds import LastRounds
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.metrics.spec import is_better
from shared.metrics.statistics import added_up, unpacked
from shared.tasks.base import Statistics

POOLED = "pooled"


class PooledSamples:
    """The samples of several sites as one."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def on_disk(self) -> bool:
        """See `Samples`."""
        return any(part.on_disk for part in self._parts)

    def batch(self, indices: Sequence[int], *, augment_seed: int | None = None) -> Batch:
        """Return a batch, ordered by site."""
        chosen: dict[int, list[int]] = {}
        for index in indices:
            part = bisect_right(self._ends, index)
            chosen.setdefault(part, []).append(index - (self._ends[part - 1] if part else 0))
        batches = [
            self._parts[part].batch(chosen[part], augment_seed=augment_seed) for part in sorted(chosen)
        ]
        return Batch.joined(batches)


def train_baseline(
    bench: Bench,
    name: str,
    members: Mapping[str, Site],
    everyone: Mapping[str, Site],
    *,
    rounds: int,
    first: NDArray[np.float32],
) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Train on the members' data and test at every site.

    Args:
        bench: The job, with a network to train.
        name: Name of the site, or "pooled"; part of every seed.
        members: The sites whose data it trains on.
        everyone: The sites whose test patients it is judged on.
        rounds: Rounds that the federated run took.
        first: The model that it began with.

    Returns:
        Test metrics of everyone together and of each site, and the tensor "vector" of the model tested.
    """
    job = bench.job
    bench.state.unpack(first)
    data = [site.data(job) for site in members.values()]
    parts = [item.split("train") for item in data]
    counts = [statistics_for_loss(job, item, {}) for item in data]
    specs = job.statistics()
    own = [unpacked(specs, site.statistics(job)) for site in members.values()] if specs else []
    bench = bench.knowing({**added_up(specs, own), **_total(counts)})
    pooled = PooledSamples(parts)
    policies = [site.config.policy for site in members.values()]
    steps = sum(
        steps_of(job.training, len(part), policy.round_counts_to, policy.min_patients_in_update)
        for part, policy in zip(parts, policies, strict=True)
    )
    training = LocalTraining(
        bench.model,
        bench.task,
        pooled,
        job,
        site=name,
        device=next(bench.model.parameters()).device,
        order=SampleOrder.public(job, len(pooled), name, steps, classes_of(job, data)),
        parameters=bench.parameters,
    )
    torch.set_num_threads(job.training.threads)
    vector, best_round = _train_and_choose(bench, training, members, rounds)
    bench.state.unpack(vector)
    states = {site: evaluate(bench, everyone[site].data(job).split("test")).pack() for site in everyone}
    payload = {
        "round": best_round,
        "federation": _scores(bench, list(states.values())),
        "sites": {site: _scores(bench, [state]) for site, state in states.items()},
    }
    return payload, {"vector": vector}


def classes_of(job: JobSpec, data: Sequence[SiteData]) -> ClassGroups | None:
    """Return the images of several sites by class, where the job samples by class."""
    targets = [own for site in data if (own := site.drawn_as()) is not None]
    patients = [patient for site in data for patient in site.training_patients]
    return ClassGroups.of(job, torch.cat(targets) if targets else None, patients)


def _total(statistics: Sequence[Statistics]) -> Statistics:
    return {name: np.sum([one[name] for one in statistics], axis=0) for name in statistics[0]}


def _train_and_choose(
    bench: Bench, training: LocalTraining, members: Mapping[str, Site], rounds: int
) -> tuple[NDArray[np.float32], int]:
    metric, every = bench.job.evaluation.select_best, bench.job.evaluation.every
    best: float | None = None
    chosen, chosen_round = bench.state.pack(), 0
    last = LastRounds(bench.job)
    for round_ in range(1, rounds + 1):
        training.run(round_)
        averaged = last(round_, bench.state.pack())
        if metric is None or (round_ % every and round_ != rounds):
            continue
        states = [evaluate(bench, site.data(bench.job).split("val")).pack() for site in members.values()]
        value = _scores(bench, states)[metric]
        if is_better(bench.job, metric, value, best):
            best, chosen, chosen_round = value, bench.state.pack(), round_
    if best is None:
        return averaged, rounds
    return chosen, chosen_round


def _scores(bench: Bench, states: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    metrics = bench.task.metrics()
    for state in states:
        metrics.merge(state)
    return metrics.compute()
