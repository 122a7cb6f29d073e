"""What a simulation costs beyond its training, in Wardround and in Flower's own engine (Ray).

The overhead is the wall time of the rounds over what bare PyTorch processes need for the same local training,
shared over as many workers: 1.0 would be a simulation that costs nothing. Engine and bare processes do their
rounds in turns of half a second, while the other is stopped: a machine whose speed changes then changes it
for both.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any

from common import Measured, Work, apart, conditions, finish, write_hospitals
from rich.console import Console
from rich.progress import track
from rich.table import Table
from turns import Program, duel

LIMIT = 1.06  # of Wardround's overhead
LOCAL_SECONDS = 0.2  # of one site's training in one round
SIDE = 48
IMAGES = 32  # of a site
BATCH = 4


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    sites: int
    rounds: int
    repetitions: int
    steps: int | None  # None: as many as take LOCAL_SECONDS
    workers: int


FULL = Plan(sites=8, rounds=20, repetitions=3, steps=None, workers=2)
QUICK = Plan(sites=2, rounds=2, repetitions=1, steps=2, workers=1)


@dataclass(frozen=True)
class Turn:
    """One engine's run, and what bare processes needed in turn with it."""

    startup: float
    rounds: list[float]  # seconds
    cpu: float
    bare: float  # seconds of the same training

    @property
    def overhead(self) -> float:
        """Wall time over that of the bare processes."""
        return sum(self.rounds) / self.bare


def main() -> None:
    """Measure, print the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, held to no figure")
    quick = parser.parse_args().quick
    plan = QUICK if quick else FULL
    before = conditions()
    with tempfile.TemporaryDirectory() as folder:
        turns, work = measure(plan, Path(folder))
    Console().print(results(turns, work))
    figures = {engine: summary(runs) for engine, runs in turns.items()}
    overhead = figures["Wardround"]["overhead"]
    missed = [f"overhead: {overhead} instead of {LIMIT}"] if overhead > LIMIT else []
    shape = {"sites": work.sites, "rounds": work.rounds, "steps": work.steps, "workers": work.workers}
    finish("simulation_overhead", {**before, **shape, **figures}, missed, quick=quick)


def measure(plan: Plan, folder: Path) -> tuple[dict[str, list[Turn]], Work]:
    """Let bare processes and both engines take turns."""
    manifest = write_hospitals(folder / "data", plan.sites, IMAGES, SIDE)
    work = Work(manifest, plan.sites, plan.rounds, min(plan.workers, len(os.sched_getaffinity(0))), BATCH, 1)
    work = replace(work, steps=plan.steps or apart(calibrate, work))
    turns: dict[str, list[Turn]] = {"Wardround": [], "Flower": []}
    order = [wardround, flower] * plan.repetitions
    for engine in track(order, "Measuring", console=Console(stderr=True)):
        turns[engine.__name__.capitalize()].append(take_turns(engine, work, folder / "runs"))
    return turns, work


def take_turns(engine: Callable[..., Measured], work: Work, folder: Path) -> Turn:
    """Run an engine and the bare processes side by side, in turns."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    bare = Program(bare_spans, [work, ready], go)
    ready.wait()  # its start must not disturb the engine's
    run = Program(engine, [work, folder, time.monotonic()], go)
    measured, spans = duel(run, bare, go)
    seconds = [bare.seconds(span) for span in spans]
    rounds = [run.seconds(span) for span in measured.rounds]
    return Turn(measured.startup, rounds, measured.cpu, sum(seconds) / len(seconds))


# Each of these runs in a process of its own; only there is PyTorch imported.


def calibrate(work: Work) -> int:
    """Return how many steps take LOCAL_SECONDS on one thread."""
    import plain_training  # noqa: PLC0415

    return max(1, round(LOCAL_SECONDS / plain_training.seconds_of_a_step(work)))


def bare_spans(work: Work, ready: Event, go: Event) -> list[tuple[float, float]]:
    """Train in bare processes."""
    import plain_training  # noqa: PLC0415

    return plain_training.spans_of(work, ready, go)


def wardround(work: Work, folder: Path, started: float, go: Event) -> Measured:
    """Run Wardround: its round loop with real checkpoints, over its pool of processes."""
    import wardround_engine  # noqa: PLC0415

    return wardround_engine.run(work, SIDE, folder, started, go)


def flower(work: Work, folder: Path, started: float, go: Event) -> Measured:
    """Run Flower's engine, which writes no files."""
    import flower_engine  # noqa: PLC0415

    return flower_engine.run(work, started, go)


def results(turns: dict[str, list[Turn]], work: Work) -> Table:
    """Return a row an engine: the median, and in brackets the lowest and the highest."""
    title = f"{work.sites} sites, {work.rounds} rounds, {work.steps} steps each, {work.workers} workers"
    table = Table("engine", title=title)
    for heading in ("overhead", "s a round", "bare training", "CPU s", "start-up s"):
        table.add_column(heading, justify="right")
    for name, runs in turns.items():
        columns = [
            [turn.overhead for turn in runs],
            [sum(turn.rounds) / work.rounds for turn in runs],
            [turn.bare / work.rounds for turn in runs],
            [turn.cpu for turn in runs],
            [turn.startup for turn in runs],
        ]
        table.add_row(name, *(f"{median(c):.3g} ({min(c):.3g}-{max(c):.3g})" for c in columns))
    return table


def summary(turns: list[Turn]) -> dict[str, Any]:
    """Return what the JSON says of an engine."""
    return {
        "overhead": round(median(turn.overhead for turn in turns), 3),
        "overhead_of_each_run": [round(turn.overhead, 3) for turn in turns],
        "round_seconds": round(median(second for turn in turns for second in turn.rounds), 3),
        "bare_seconds": [round(turn.bare, 3) for turn in turns],
        "cpu_seconds": round(median(turn.cpu for turn in turns), 2),
        "startup_seconds": round(median(turn.startup for turn in turns), 2),
    }


if __name__ == "__main__":
    main()
