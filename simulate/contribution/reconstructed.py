"""Contributions from a single training: coalitions' models are put together from its updates (GTG-Shapley).

Liu, Chen, Zhao, Yu, Liu, Bao, Jiang, Nie, Xu and Yang, ACM TIST 2022, algorithm 1: in each round the model of
a coalition is what was sent plus the mean of its members' updates, and no one trains for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from flwr.app import Message
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import nn

from client.guard.site_cohort import SiteCohort
from client.work.warm_networks import predictions
from server.runs.checkpoint import read_checkpoint
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.run_folder import CHECKPOINT, SIMULATION
from shared.strategies.largest_share import bounded
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.packed_model import ModelState
from simulate.contribution.estimate import USUAL_ORDERS
from simulate.contribution.game import Game
from simulate.contribution.report import Contribution
from simulate.contribution.shapley import (
    MOST_EXACT,
    Brought,
    Coalition,
    added_up,
    exact,
    leave_one_out,
    repeated,
    truncated,
)
from simulate.data.scanner import Scanner
from simulate.session.hospitals import Setup
from simulate.session.watched_grid import WatchedGrid
from simulate.workers import Workers

Vector = NDArray[np.float32]
_MEANS = ("fedavg", "fedprox")  # whose model is the mean of what sites send


@dataclass
class Round:
    """What was sent in a round, and what came back.

    Attributes:
        sent: The model.
        models: Of the sites that trained, by name.
        examples: On how many images each has trained.
    """

    sent: Vector
    models: dict[str, Vector] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)

    def model(self, coalition: Coalition, job: JobSpec) -> Vector:
        """Return the model of a coalition: the mean of its members', weighed as the job says."""
        names = sorted(coalition & self.models.keys())
        if not names:
            return self.sent
        own = {name: self.examples[name] for name in names}
        if job.strategy.weight == "equal":
            own = dict.fromkeys(names, 1)
        weights = bounded(own, job.strategy.largest_share)
        shares = np.array([weights[name] for name in names], np.float64)
        mean = shares / shares.sum() @ np.stack([self.models[name] for name in names])
        return np.asarray(mean, np.float32)


class KeepingGrid(WatchedGrid):
    """A Grid that keeps all updates of a run.

    Args:
        workers: As for `LocalGrid`.
        sites: As for `LocalGrid`.
        kept: Is filled, by round.
    """

    def __init__(self, workers: Workers, sites: Iterable[str], kept: dict[int, Round]) -> None:
        super().__init__(workers, sites)
        self._kept = kept

    def take(self, site: str, question: Message, reply: Message) -> None:
        """See the base class."""
        number = int(question.content[messages.CONFIG]["round"])
        sent, trained = (
            message.content[messages.ARRAYS][messages.VECTOR].numpy() for message in (question, reply)
        )
        round_ = self._kept.setdefault(number, Round(sent.copy()))
        round_.models[site] = trained.copy()
        round_.examples[site] = int(reply.content[messages.METRICS]["num-examples"])


class Judges:
    """Judge models on the validation patients of all sites of a run.

    Args:
        run: Its folder.
        job: Its job.
    """

    def __init__(self, run: Path, job: JobSpec) -> None:
        setup = Setup.read(run / SIMULATION)
        self._task = make_task(job, read_checkpoint(run / CHECKPOINT, job.digest()).statistics)
        self._model: nn.Module = build_model(job, started=False)
        self._state = ModelState(self._model)
        cohorts = setup.cohorts()
        self._samples = []
        for site in setup.sites:
            scanner = None if setup.scanner_seed is None else Scanner.draw(site.name, setup.scanner_seed)
            data = SiteCohort(site, cohorts.get(site.name)).load(job, scanner)
            self._samples.append(data.split("val"))

    def figure(self, vector: Vector, metric: str) -> float:
        """Return a metric of a packed model; NaN where it is not defined."""
        self._state.unpack(vector)
        models = models_of(self._model)
        edges = self._task.fine_edges()
        metrics = self._task.metrics(edges)
        with eval_mode(self._model):
            for samples in self._samples:
                own = self._task.metrics(edges)
                for batch, predicted in predictions(self._task, models, samples) if len(samples) else ():
                    losses = self._task.sample_losses(models, batch, predicted)
                    self._task.update(own, predicted, batch, losses)
                own.settle()
                metrics.merge(own.pack())
        return float(metrics.compute().get(metric, np.nan))


def why_not(job: JobSpec) -> str | None:
    """Return why models of coalitions can't be put together from updates; None where they can."""
    if job.strategy.name not in _MEANS:
        return f"'gtg' needs a model that is the mean of what sites send ({', '.join(_MEANS)})"
    if job.privacy.mechanism != "none":
        return "'gtg' needs single updates without noise"
    return None


def reconstructed(
    name: str, game: Game, seeds: Sequence[int], permutations: int | None, tolerance: float
) -> Contribution:
    """Estimate what each site brought from one training for each seed.

    Args:
        name: Of the job.
        game: Its federation's; the coalition of all is trained.
        seeds: Of the trainings, and of the orders that are drawn.
        permutations: Orders in each round; None asks all coalitions of few sites, else `USUAL_ORDERS`.
        tolerance: Share of what all rounds bring together, below which a round is taken to bring nothing
            (truncation between rounds); within a round see `truncated`.

    Raises:
        RunError: The job's updates can't be put together.
        WardroundError: The training could not go on.
    """
    if (reason := why_not(game.job)) is not None:
        raise RunError(reason, where=name, remedy="Leave --method out: coalitions are then trained.")
    shapley, left_out, ends, asked = [], [], [], 0
    for seed in seeds:
        rounds: dict[int, Round] = {}
        run = game.run(None, seed, partial(KeepingGrid, kept=rounds)).run
        job, judges = run.job, Judges(run.path, run.job)
        players = sorted({site for own in rounds.values() for site in own.models})
        worth = _Worth(game, judges, job)
        first, last = rounds[min(rounds)], rounds[max(rounds)]
        start, end = worth.of(first, frozenset()), worth.of(last, frozenset(players))
        ends.append((start, end))
        near = tolerance * abs(end - start)
        orders = (0 if len(players) <= MOST_EXACT else USUAL_ORDERS) if permutations is None else permutations
        parts, lost = [], []
        for number, round_ in sorted(rounds.items()):
            value = partial(worth.of, round_)
            before, after = value(frozenset()), value(frozenset(round_.models))
            if abs(after - before) <= near:
                continue
            come = sorted(round_.models)
            found = (
                truncated(come, value, orders, seed + number, tolerance)
                if orders
                else {site: Brought(own) for site, own in exact(come, value).items()}
            )
            parts.append(found)
            lost.append({site: Brought(own) for site, own in leave_one_out(come, value).items()})
        shapley.append(added_up(players, parts))
        left_out.append(added_up(players, lost))
        asked += worth.judged
    return Contribution(
        name,
        game.metric,
        fmean(start for start, _ in ends),
        fmean(end for _, end in ends),
        repeated(shapley),
        repeated(left_out),
        list(seeds),
        permutations or 0,
        len(seeds),
        asked,
    )


class _Worth:
    """What models of coalitions are worth, each judged once."""

    def __init__(self, game: Game, judges: Judges, job: JobSpec) -> None:
        self._game, self._judges, self._job = game, judges, job
        self._known: dict[tuple[int, Coalition], float] = {}

    @property
    def judged(self) -> int:
        """How many models were judged."""
        return len(self._known)

    def of(self, round_: Round, coalition: Coalition) -> float:
        key = (id(round_), coalition)
        if key not in self._known:
            figure = self._judges.figure(round_.model(coalition, self._job), self._game.metric)
            self._known[key] = self._game.worth(figure)
        return self._known[key]
