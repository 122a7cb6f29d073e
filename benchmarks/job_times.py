"""How long does each shipped job take, as it is shipped? Two rounds tell it, without the wait for all.

    python benchmarks/job_times.py [JOB ...] [--workers 2] [--quick]

Each job of configs/jobs is simulated with all of its data, in this process, but with two rounds of a few
steps. Counted are processor seconds, which other work on the machine stretches little: of what comes before
round 1, of the steps at each site in round 2, of an evaluation, of the test. A whole run is these, as often
as the job has them, shared out among the workers: a phase takes as long as its slowest site at least. Loading
the libraries comes on top, some ten seconds. A job of more than ten minutes must say so in its file ("Takes
about N minutes"): misses where one does not, or says less than half or more than twice of what is measured.
"""

import argparse
import io
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common import PROJECT, are_there, conditions, finish, shipped
from every_job import JOBS, SKIPPED, WHERE, manifest_of
from rich.console import Console
from rich.table import Table
from science import shortened

from client.data.manifest.splits import SplitTable
from client.training.sample_order import steps_of
from server.runs.events import Event
from shared.job.schema import JobSpec
from simulate.data.phantom import PHANTOMS
from simulate.session.session import Hospitals, execute, start

LONG = 600.0  # seconds, beyond which a job says what it takes
_SAID = re.compile(r"Takes about (\d+) minutes")
_ROUNDS = 2  # the first also warms up
_STEPS = 5  # of a site in a round; where a round has fewer, all of them
_ROUND_TO = 10  # as hospitals of a simulation tell how many images they have


@dataclass
class Clock:
    """Counts the processor seconds of a run by what they went to.

    Attributes:
        before: Until the first round.
        first: At each site in the training of the first round.
        training: The same of the last round that was begun.
        evaluating: Of its evaluation.
        rest: Of a round, what is not at a site: sums and files; and evaluations behind masks.
    """

    before: float = 0.0
    first: dict[str, float] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    evaluating: dict[str, float] = field(default_factory=dict)
    rest: float = 0.0
    _at: float = field(default_factory=time.process_time)

    def listen(self, event: Event) -> None:
        """Take note of what happened."""
        if event.kind == "round_started" and event.round == 1:
            self.before = self.passed()
        elif event.kind == "round_started":
            self.rest = self.passed()
            self.first, self.training, self.evaluating = self.training, {}, {}
        elif event.kind == "site_done" and event.phase in ("train", "evaluate"):
            of_phase = self.training if event.phase == "train" else self.evaluating
            of_phase[event.site] = of_phase.get(event.site, 0.0) + self.passed()

    def passed(self) -> float:
        """Return the processor seconds since this was last asked."""
        now = time.process_time()
        passed, self._at = now - self._at, now
        return passed


def main() -> None:
    """Measure the jobs asked for, print their table, and fail where a long one does not say so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", choices=[*JOBS, []], help="all of them, if none is named")
    parser.add_argument("--workers", type=int, default=2, help="on which a run is reckoned")
    parser.add_argument("--quick", action="store_true", help="one job, two steps; held to no figure")
    asked = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    skipped = []
    for name in ["phantom-survival"] if asked.quick else asked.jobs or JOBS:
        job = shipped(name)
        if job.job.dataset not in PHANTOMS and not are_there(WHERE[name].pack):
            skipped.append(name)
            continue
        found[name] = measured(name, shortened(job) if asked.quick else job, asked.workers)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    Console(width=120).print(table_of(found))
    finish("job_times", {**conditions(), SKIPPED: skipped, "jobs": found}, missed(found), quick=asked.quick)


def measured(name: str, job: JobSpec, workers: int) -> dict[str, float]:
    """Return the seconds of a job's parts, and of a whole run."""
    steps = min(_STEPS, job.training.local_steps or _STEPS)
    clock, short = Clock(), shortened(job, min(_ROUNDS, job.job.rounds), steps)
    with tempfile.TemporaryDirectory(prefix="wardround-job-times-") as place:
        labelled = WHERE[name].labelled if name in WHERE else 1.0
        hospitals = Hospitals(data=manifest_of(name, job, Path(place)), shares=SplitTable(labelled=labelled))
        clock.passed()  # hospitals are not made in each run
        run = start(short, hospitals, Path(place) / "runs", "cpu", baselines=False)
        execute(run, "in-process", Console(file=io.StringIO()), also=clock.listen)
        after, sites = clock.passed(), run.read_description()["sites"]

    def shared(seconds: Mapping[str, float]) -> float:
        return max(sum(seconds.values()) / workers, max(seconds.values(), default=0.0))

    def of_round(site: str) -> int:
        return steps_of(job.training, sites[site]["examples"]["train"], _ROUND_TO, 1)

    round_ = shared({site: own * of_round(site) / steps for site, own in clock.training.items()}) + clock.rest
    evaluation, rounds = shared(clock.evaluating), range(1, job.job.rounds + 1)
    whole = clock.before + max(shared(clock.first) - shared(clock.training), 0.0) + len(rounds) * round_
    whole += sum(map(job.evaluates, rounds)) * evaluation + after
    parts = {"before": clock.before, "round": round_, "evaluation": evaluation, "whole": whole}
    return {**{part: round(seconds, 1) for part, seconds in parts.items()}, "rounds": len(rounds)}


def said_by(name: str) -> int | None:
    """Return the minutes that a job's file says it takes."""
    text = (PROJECT / "configs" / "jobs" / f"{name}.toml").read_text(encoding="utf-8")
    said = _SAID.search(text)
    return None if said is None else int(said[1])


def missed(found: dict[str, dict[str, float]]) -> list[str]:
    """Return which long jobs do not say how long they are, or say something else."""
    misses = []
    for name, parts in found.items():
        said, whole = said_by(name), parts["whole"]
        if said is None and whole > LONG:
            misses.append(f"{name}: {whole / 60:.0f} minutes, and its file does not say so")
        elif said is not None and not said * 30 <= whole <= said * 120:
            misses.append(f"{name}: {whole / 60:.0f} minutes, and its file says {said}")
    return misses


def table_of(found: dict[str, dict[str, float]]) -> Table:
    """Return what there is to read."""
    table = Table(title="Shipped jobs, seconds on idle cores")
    for heading in ("job", "before round 1", "training of a round", "evaluation", "rounds", "whole run"):
        table.add_column(heading, justify="left" if heading == "job" else "right")
    for name, parts in sorted(found.items(), key=lambda item: item[1]["whole"]):
        seconds = (f"{parts[part]:.1f}" for part in ("before", "round", "evaluation"))
        table.add_row(name, *seconds, str(parts["rounds"]), f"{parts['whole']:.0f}")
    return table


if __name__ == "__main__":
    main()
