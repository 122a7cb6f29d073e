"""Trials, one after the other: each is a run that ends before its test patients are looked at."""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.runs.events import Event
from shared.errors import JobError, RunError
from shared.job.schema import JobSpec
from shared.metrics.spec import is_better, metric_specs
from shared.seeds import seed_of
from simulate.tuning.space import Range, Space, Value, job_of_trial, metric_of
from simulate.tuning.trials import EndedEarly, TrialEnded, Trials

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

TRIALS, RUNS = "trials.log", "runs"
_RUN, _REASON = "run", "reason"
_NAME = "tuning"
_OTHERS = 5  # trials that have to be done before anything is said of what mattered


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: From 1, in the order of the trials.
        values: That were tried, by key of the job.
        score: Of its best round on the validation patients; None where it has none.
        state: `done`, `ended early` or `failed`.
        reason: Why it failed.
        run: Name of its run's folder; empty where there is none.
    """

    number: int
    values: Mapping[str, Value]
    score: float | None
    state: str
    reason: str
    run: str


class Search:
    """The search of a folder; it goes on where it ended, with the values that it would have tried.

    Args:
        folder: Has the log of the trials and their runs.
        job: That is varied.
        space: What varies, and how.

    Raises:
        RunError: Optuna is not installed.
    """

    def __init__(self, folder: Path, job: JobSpec, space: Space) -> None:
        self.folder = folder
        self.job = job
        self.space = space
        self.metric = str(metric_of(space, job))
        self._study = _study(folder / TRIALS, "minimize" if self.lower_is_better else "maximize")
        self._study.pruner = _pruner(space)

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric's lower values are the better ones."""
        name = self.metric.partition("/")[0]
        return any(spec.lower_is_better for spec in metric_specs(self.job) if spec.name == name)

    def tried(self) -> list[Tried]:
        """Return the trials that are over, in their order."""
        return [_tried(at, own) for at, own in enumerate(self._over(), start=1)]

    def best(self) -> Tried | None:
        """Return the best trial of those that came to their end."""
        found = [one for one in self.tried() if one.state == "done" and one.score is not None]
        sign = 1 if self.lower_is_better else -1
        return min(found, key=lambda one: (sign * (one.score or 0.0), one.number), default=None)

    def importance(self) -> dict[str, float]:
        """Return how much of what differs between good trials and others each key explains, 0 to 1.

        PED-ANOVA (Watanabe, Bansal and Hutter, 2023). Nothing where too few trials came to their end.
        """
        from optuna.importance import (  # noqa: PLC0415  (an extra)
            PedAnovaImportanceEvaluator,
            get_param_importances,
        )

        if sum(one.state == "done" for one in self.tried()) < _OTHERS:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the method is new
            return dict(get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator()))

    def go_on(self, trials: Trials, tell: Callable[[Tried], None]) -> None:
        """Do the trials that are left.

        Args:
            trials: Does their runs.
            tell: Called after each.

        Raises:
            WardroundError: The data can't be used, or training could not go on. A trial whose values do not
                go together has failed, and the next one is done.
        """
        for own in self._study.get_trials(deepcopy=False):
            if own.state.is_finished():
                continue
            if trials.goes_on and _RUN in own.user_attrs:  # it went on while nobody followed it
                trial = _begun(self._study, own)
                job = job_of_trial(self.job, self.metric, _values(own), self.folder / f"trial-{own.number}")
                self._follow(trial, job, trials, own.user_attrs[_RUN])
                tell(self.tried()[-1])
            else:  # whoever was at work on it was killed: it is done anew
                self._study.tell(own.number, state=_state("FAIL"))
        while (done := len(self._over())) < self.space.tune.trials:
            self._study.sampler = _sampler(self.space, done)
            self._try(self._study.ask(), trials)
            tell(self.tried()[-1])

    def _over(self) -> "list[FrozenTrial]":
        trials = self._study.get_trials(deepcopy=False)
        failed = _state("FAIL")  # with a reason; without one it was killed
        return [
            own
            for own in trials
            if own.state.is_finished() and (own.state is not failed or _REASON in own.user_attrs)
        ]

    def _try(self, trial: "Trial", trials: Trials) -> None:
        values = {key: _suggested(trial, key, among) for key, among in self.space.vary.items()}
        try:
            job = job_of_trial(self.job, self.metric, values, self.folder / f"trial-{trial.number}")
        except JobError as error:
            trial.set_user_attr(_REASON, error.problem)
            self._study.tell(trial, state=_state("FAIL"))
            return
        run = trials.begin(job)
        trial.set_user_attr(_RUN, run)
        self._follow(trial, job, trials, run)

    def _follow(self, trial: "Trial", job: JobSpec, trials: Trials, run: str) -> None:
        reported = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        watch = _Watch(trial, job, self.metric, max(reported, default=0))
        trials.follow(run, watch)
        if watch.best is None:
            trial.set_user_attr(_REASON, f"no round has '{self.metric}' of validation patients")
            self._study.tell(trial, state=_state("FAIL"))
        elif watch.pruned:
            self._study.tell(trial, state=_state("PRUNED"))
        else:
            self._study.tell(trial, watch.best)


class _Watch:
    """Follows a trial by what its rounds bring, and ends it."""

    def __init__(self, trial: "Trial", job: JobSpec, metric: str, reported: int) -> None:
        self._trial, self._job, self._metric = trial, job, metric
        self._reported = reported  # the last round that the trial's log has
        self.best: float | None = None
        self.pruned = False

    def __call__(self, event: Event) -> None:
        if event.kind != "round_finished":
            return
        value = event.data.get(self._metric)
        if value is not None and not math.isnan(float(value)):
            if is_better(self._job, self._metric, float(value), self.best):
                self.best = float(value)
            assert self.best is not None  # noqa: S101 (the first value is better than none)
            if event.round > self._reported:
                self._trial.report(self.best, event.round)
                self._reported = event.round
                self.pruned = event.round < self._job.job.rounds and self._trial.should_prune()
        if self.pruned:
            raise EndedEarly(f"worse after round {event.round} than half of the other trials")
        if event.round == self._job.job.rounds:
            raise TrialEnded


def _study(log: Path, direction: str) -> "Study":
    try:
        import optuna  # noqa: PLC0415  (an extra)
        from optuna.storages import JournalStorage  # noqa: PLC0415
        from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415
    except ImportError:
        raise RunError("Optuna is not installed", remedy="pip install 'wardround[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    log.with_name(f"{log.name}.lock").unlink(missing_ok=True)  # of a process that was killed
    storage = JournalStorage(JournalFileBackend(str(log)))
    return optuna.create_study(storage=storage, study_name=_NAME, direction=direction, load_if_exists=True)


def _sampler(space: Space, done: int) -> "BaseSampler":
    """Return what draws the values of the next trial: from what is known by then, and nothing else."""
    from optuna.samplers import RandomSampler, TPESampler  # noqa: PLC0415

    seed = seed_of(space.tune.seed, "trial", done) % 2**32
    if space.tune.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=space.tune.startup)


def _pruner(space: Space) -> "BasePruner":
    from optuna.pruners import MedianPruner, NopPruner  # noqa: PLC0415

    if space.tune.pruner == "none":
        return NopPruner()
    return MedianPruner(n_startup_trials=space.tune.startup, n_warmup_steps=space.tune.warmup)


def _state(name: str) -> Any:
    from optuna.trial import TrialState  # noqa: PLC0415

    return TrialState[name]


def _begun(study: "Study", own: "FrozenTrial") -> "Trial":
    """Return a trial that somebody has begun before, to go on with it."""
    from optuna.trial import Trial  # noqa: PLC0415

    return Trial(study, own._trial_id)


def _values(own: "FrozenTrial") -> dict[str, Value]:
    return {key: json.loads(value) if isinstance(value, str) else value for key, value in own.params.items()}


def _suggested(trial: "Trial", key: str, among: Range | list[Value]) -> Value:
    if isinstance(among, list):  # Optuna knows no lists: their JSON stands for them
        value: Value = json.loads(str(trial.suggest_categorical(key, [json.dumps(one) for one in among])))
        return value
    if among.whole:
        return trial.suggest_int(key, int(among.low), int(among.high), log=among.log)
    return trial.suggest_float(key, among.low, among.high, log=among.log)


def _tried(number: int, own: "FrozenTrial") -> Tried:
    states = {"COMPLETE": "done", "PRUNED": "ended early"}
    score = own.value
    if score is None and own.intermediate_values:
        score = own.intermediate_values[max(own.intermediate_values)]
    return Tried(
        number,
        _values(own),
        score,
        states.get(own.state.name, "failed"),
        str(own.user_attrs.get(_REASON, "")),
        str(own.user_attrs.get(_RUN, "")),
    )
