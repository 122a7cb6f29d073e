"""A site's half of a strategy at work: it trains as often, and from what, the strategy says."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.samples.site_data import Samples
from client.training.halfway import Halfway
from client.training.loop import LocalTraining, diverged
from client.training.optimiser_state import moments_of, take_up
from client.work.run_store import Kept, Purpose, RunStore
from client.work.warm_networks import Bench, mean_loss, read_job
from shared.errors import SiteError
from shared.strategies.vectors import Alignment, Beside, Contrast, Pull, Steps, Trained, Vectors, misfit
from shared.wire.messages import Request

if TYPE_CHECKING:
    from client.training.private_loop import PrivateTraining

Make = Callable[[], "LocalTraining | PrivateTraining"]


class Passes:
    """Trains on the site's images for one round; a `shared.strategies.vectors.Train`.

    Args:
        bench: The job's.
        make: Returns the training of the round, with an optimiser of its own.
        round_: The round.
        samples: Returns those that are trained on.
        moments: Of the optimiser of each pass, from the site's last round; None where each begins without.
        halfway: Returns what keeps a pass in its midst, given its number and the model that it begins with.

    Attributes:
        left: Rounds that the job has after this one.
        losses: Mean loss of each pass so far.
        moments: Of the passes so far.
    """

    def __init__(
        self,
        bench: Bench,
        make: Make,
        round_: int,
        samples: Callable[[], Samples],
        moments: Vectors | None = None,
        *,
        halfway: Callable[[int, NDArray[np.float32]], Halfway | None] = lambda *_: None,
    ) -> None:
        self._halfway = halfway
        self._bench = bench
        self._training = make()
        self._make = make
        self._round = round_
        self._samples = samples
        self._before = moments
        self.left = bench.job.job.rounds - round_
        self.losses: list[float] = []
        self.moments: dict[str, NDArray[np.float32]] = {}

    def __call__(
        self,
        model: NDArray[np.float32],
        pull: Pull | None = None,
        *,
        free: NDArray[np.bool_] | None = None,
        radius: float = 0.0,
        beside: Beside | None = None,
        contrast: Contrast | None = None,
        alignment: Alignment | None = None,
    ) -> Trained:
        """Train from a model; see `shared.strategies.vectors.Train`.

        Raises:
            TrainingError: The loss is no longer a number.
        """
        self._bench.state.unpack(model)
        training = self._make() if self.losses else self._training
        steps = Steps(pull, free, radius, beside, contrast, alignment)
        with self._kept_moments(training, f"{len(self.losses)}."):
            whole = beside is None and contrast is None and alignment is None
            if whole and isinstance(training, LocalTraining):
                trained = training.run(self._round, steps, self._halfway(len(self.losses), model))
            else:  # noise is drawn anew and charged for, or a step leaves more than a network behind
                trained = training.run(self._round, steps)
        if isinstance(training, LocalTraining):
            training.let_go()
        self.losses.append(trained.loss)
        return Trained(self._bench.state.pack(), trained.rates, trained.steps)

    @contextmanager
    def _kept_moments(self, training: "LocalTraining | PrivateTraining", prefix: str) -> Iterator[None]:
        """Let a pass go on from the moments that the same pass of the last round had."""
        if self._before is None or not isinstance(training, LocalTraining):
            yield
            return
        before = _within(self._before, prefix)
        for work in training.works:
            if own := _within(before, f"{work.name}."):
                take_up(work.optimizer, own)
        yield
        for work in training.works:
            moments = moments_of(work.optimizer)
            self.moments |= {f"{prefix}{work.name}.{name}": vector for name, vector in moments.items()}

    def loss(self, model: NDArray[np.float32]) -> float:
        """Return the mean loss of a model on the site's training images.

        Raises:
            ValueError: The strategy has not said that it tells a loss.
        """
        if not self._bench.job.strategy.tells_loss:
            raise ValueError(f"'{self._bench.job.strategy.name}' has not said that it tells a loss")
        self._bench.state.unpack(model)
        return mean_loss(self._bench, self._samples())

    def place(self, model: NDArray[np.float32]) -> Tensor:
        """Return the trainable parameters of a vector as a pull gets them."""
        return self._training.place(model)


def _within(vectors: Vectors, prefix: str) -> Vectors:
    """Return the vectors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): vector for name, vector in vectors.items() if name.startswith(prefix)}


class Memory:
    """What a site remembers of a run, as one request sees it.

    Args:
        store: Where it lies; None where the site remembers nothing.
        request: Of the run.
        site: Its name, for errors.
        data: Names what is trained on.
    """

    def __init__(self, store: RunStore | None, request: Request, site: str, data: str = "") -> None:
        self._data = data
        self._store = store
        self._request = request
        self._run = f"{read_job(request.job).digest()} {request.run}"
        self.site = site

    def before(
        self, purpose: Purpose, sizes: Mapping[str, int] | None = None, *, with_round: bool = False
    ) -> Kept:
        """Return what was kept before the request's round, or with it; see `RunStore.before`.

        Raises:
            SiteError: A file is damaged or lost, or the site remembers nothing.
        """
        return self._required().before(self._run, self._request.round + with_round, purpose, sizes)

    def keep(self, purpose: Purpose, vectors: Vectors) -> None:
        """Keep what the request's round has left.

        Raises:
            SiteError: It can't be written, or the site remembers nothing.
        """
        self._required().keep(self._run, self._request.round, purpose, vectors, self._request.best)

    def halfway(self, number: int, model: NDArray[np.float32]) -> Halfway | None:
        """Return what keeps a pass of the round in its midst; None where the site remembers nothing.

        Args:
            number: Of the pass.
            model: That it begins with.
        """
        if self._store is None:
            return None
        key = hashlib.sha256(f"{self._run} {self._request.round} {number} {self._data}".encode())
        for vector in (self._request.vector, model):
            key.update(np.ascontiguousarray(vector).data)
        return Halfway(self._store.midst(self._run, number), key.hexdigest())

    def _required(self) -> RunStore:
        if self._store is None:
            raise SiteError("keeps nothing between rounds, as this job needs it", where=self.site)
        return self._store


def do_round(
    bench: Bench, request: Request, make: Make, memory: Memory, samples: Callable[[], Samples]
) -> tuple[NDArray[np.float32], float]:
    """Do a site's work of a round; what it keeps is on the disk when this returns.

    Args:
        bench: The job's.
        request: What is asked.
        make: Returns a training of the round, with an optimiser of its own.
        memory: Of the site.
        samples: Returns those that are trained on.

    Returns:
        What is sent, shape (bench.wire.layout.size,), and the mean loss of the first training.

    Raises:
        TrainingError: A number is no longer finite.
        SiteError: What the site keeps can't be used, or the strategy does otherwise than it said.
    """
    half, keeps_moments = bench.half, bench.job.training.keep_optimizer
    moments = memory.before("optimizer") if keeps_moments else None
    kept = memory.before("strategy", half.keeps) if half.keeps else {}
    passes = Passes(bench, make, request.round, samples, moments, halfway=memory.halfway)
    sent, keep = half.round(passes, bench.wire.split(request.vector, bench.own), kept)
    _check_half(bench, sent, keep, passes, memory.site)
    left = (*sent.values(), *keep.values(), *passes.moments.values())
    # Each step's loss was computed before the step: what the last one did, nobody has looked at.
    if not all(np.isfinite(vector).all() for vector in left):
        raise diverged(memory.site, request.round)
    if half.keeps:
        memory.keep(
            "strategy", {name: vector.astype(np.float32, copy=False) for name, vector in keep.items()}
        )
    if keeps_moments:
        memory.keep("optimizer", passes.moments)
    return bench.wire.join(sent).astype(np.float32, copy=False), passes.losses[0]


def _check_half(bench: Bench, sent: Vectors, keep: Vectors, passes: Passes, site: str) -> None:
    """Refuse what the site's half of a strategy did not say that it does.

    Raises:
        SiteError: It did not train, or sends or keeps other vectors than it said.
    """
    reason = "" if passes.losses else "it has not trained"
    reason = reason or misfit(sent, bench.wire.lengths) or misfit(keep, bench.half.keeps)
    if reason:
        name = bench.job.strategy.name
        raise SiteError(f"the strategy '{name}' does otherwise than it said: {reason}", where=site)


def judged_model(bench: Bench, request: Request, memory: Memory) -> NDArray[np.float32]:
    """Return the model that is evaluated at a site, as it is after the request's round, of the whole network.

    Raises:
        SiteError: What the site keeps can't be used.
    """
    half = bench.half
    kept = memory.before("strategy", half.keeps, with_round=True) if half.keeps else {}
    return half.judged(bench.wire.split(request.vector, bench.own), kept)
