"""The game of a federation: what a model is worth that some of the hospitals have trained.

Each coalition is a rehearsal in which its members alone train, and are added up before round 1; all hospitals
judge it on their validation patients, and it ends before the test.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from server.files import write_atomic
from server.runs.events import Event
from server.runs.folder import RunFolder
from server.runs.participation import Part, Participation
from shared.errors import RunError
from shared.flower import RunStopped
from shared.job.evaluation_rules import OF_ROUNDS
from shared.job.schema import JobSpec, override, parse_job
from shared.metrics.spec import metric_names, metric_specs
from shared.run_folder import SIMULATION, RunRecord
from simulate.contribution.shapley import Coalition
from simulate.session.grid import LocalGrid
from simulate.session.hospitals import Setup
from simulate.session.session import REPEATS, Hospitals, carry_out, start
from simulate.workers import Workers

VALUES, RUNS = "values.json", "runs"
_HARDLY = 1e-12  # learning rate of nobody's training
_END = "it is over before its test: what hospitals bring is seen on validation patients"


class CoalitionEnded(RunStopped):
    """All rounds of a coalition are done."""


class Game:
    """Values of coalitions, each trained once and kept in a file.

    Args:
        folder: Has the values, and the runs.
        job: Of the federation.
        metric: By which a model is worth something; the more the better, also where lower values are.
        hospitals: All of them.
        workers: As for `execute`.
        device: On which is trained.
        tell: Is told of each value as it is known: coalition, seed, value.

    Raises:
        RunError: The job has no such metric.
    """

    def __init__(
        self,
        folder: Path,
        job: JobSpec,
        metric: str,
        hospitals: Hospitals,
        *,
        workers: str | None,
        device: str,
        tell: Callable[[Coalition, int, float], None] = lambda *_: None,
    ) -> None:
        if metric not in [name for name in metric_names(job) if "/" not in name]:
            raise RunError(f"has no metric '{metric}' of all classes together", where=job.job.name)
        self.folder = folder
        self.metric = metric
        self._job = job
        self._hospitals = hospitals
        self._workers, self._device, self._tell = workers, device, tell
        lower = any(spec.lower_is_better for spec in metric_specs(job) if spec.name == metric)
        self._sign = -1.0 if lower else 1.0
        file = folder / VALUES
        self._known: dict[str, float] = json.loads(file.read_text("utf-8")) if file.exists() else {}

    def value(self, coalition: Coalition, seed: int) -> float:
        """Return what the model of a coalition is worth: its metric after the last round.

        Args:
            coalition: The sites that train; nobody for the first model.
            seed: Of the job.

        Raises:
            WardroundError: The training could not go on, or the metric is not defined.
        """
        key = f"{seed}: {', '.join(sorted(coalition))}"
        if key not in self._known:
            self._known[key] = self._sign * self.run(coalition, seed).figure
            write_atomic(self.folder / VALUES, json.dumps(self._known, indent=2).encode())
            self._tell(coalition, seed, self._known[key])
        return self._known[key]

    @property
    def job(self) -> JobSpec:
        """The federation's."""
        return self._job

    def worth(self, figure: float) -> float:
        """Return what a model with a figure of the metric is worth.

        Raises:
            RunError: The figure is not defined.
        """
        if math.isnan(figure):
            raise RunError(f"'{self.metric}' of validation patients is not known for a model of some sites")
        return self._sign * figure

    def players(self) -> list[str]:
        """Return the sites that train, by name: those of the coalition of all, which is trained first."""
        folder = self.folder / RUNS
        runs = sorted(folder.glob("*")) if folder.exists() else []
        if not runs:
            self.value(frozenset(), self._job.job.seed)
            runs = sorted(folder.glob("*"))
        sites = RunRecord.read(runs[0]).read_description()["sites"]
        least = self._job.strategy.min_patients
        return sorted(
            name for name, own in sites.items() if (own.get("patients") or {}).get("train", 0) >= least
        )

    def run(
        self,
        coalition: Coalition | None,
        seed: int,
        grid: Callable[[Workers, Iterable[str]], LocalGrid] = LocalGrid,
    ) -> "Played":
        """Train a coalition, whether or not it has been trained before.

        Args:
            coalition: None for all sites; see `value` for the rest, and the errors.
            seed: Of the job.
            grid: Makes what carries its messages.
        """
        job = _job_of(self._job, self.metric, seed, trains=coalition is None or bool(coalition))
        run = start(job, self._hospitals, self.folder / RUNS, self._device, baselines=False)
        sites = [site.name for site in Setup.read(run.path / SIMULATION).sites]
        record = _record(job, coalition or sites, sites)
        write_atomic(run.path / REPEATS, record.text().encode())
        last = math.nan

        def watch(event: Event) -> None:
            nonlocal last
            if event.kind == "round_finished" and event.round == job.job.rounds:
                last = float(event.data.get(self.metric, math.nan))
                raise CoalitionEnded

        names = sites if coalition is None else sorted(coalition)
        try:
            carry_out(run, self._workers, Console(quiet=True), also=watch, grid=grid)
        except CoalitionEnded:
            run.describe(reason=_END, coalition=names)
        if math.isnan(last):
            whom = ", ".join(names) or "nobody"
            raise RunError(f"'{self.metric}' of validation patients is not known for the model of {whom}")
        return Played(run, last)


@dataclass(frozen=True)
class Played:
    """A coalition's run.

    Attributes:
        run: Its folder.
        figure: The metric after its last round.
    """

    run: RunFolder
    figure: float


def _job_of(job: JobSpec, metric: str, seed: int, *, trains: bool) -> JobSpec:
    """Return the job of a coalition: of any number of sites, to its last round.

    The first model is judged after a round whose steps change nothing.
    """
    tables = job.model_dump(mode="json", exclude_none=True)
    values: dict[str, float] = {
        "job.seed": seed,
        "strategy.min_sites": 1,
        "privacy.secure_aggregation": False,
    }
    if not trains:
        values |= {"job.rounds": 1, "training.learning_rate": _HARDLY}
    override(tables, values, None)
    tables["evaluation"] |= dict.fromkeys(OF_ROUNDS) | {"select_best": metric}
    return parse_job(tables, "contribution")


def _record(job: JobSpec, trained: Collection[str], sites: Collection[str]) -> Participation:
    names, judges = sorted(trained), sorted(sites)
    rounds = {0: Part(round=0, job=job.digest(), can_train=names, summed=names)}
    for number in range(1, job.job.rounds + 1):
        rounds[number] = Part(
            round=number, can_train=names, drawn=names, trained=names, judges=judges, judged=judges
        )
    return Participation(rounds, None)
