"""What benchmarks share that train a shipped job on real data: where packs are, a run, several seeds."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from common import conditions, finish
from rich.console import Console
from rich.table import Table
from science import interval, shortened

from server.runs.folder import RunFolder
from shared.job.schema import JobSpec, load_job
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data"))

Figures = Mapping[str, list[float]]
"""By name, the figure of each seed."""


class OfSeed(Protocol):
    """Returns the figures of one seed; told on the console how its runs go."""

    def __call__(self, seed: int, console: Console, *, quick: bool) -> dict[str, float]: ...  # noqa: D102


def are_there(*packs: str) -> bool:
    """Say whether packs are there; which are not is said on the standard error."""
    gone = [str(DATA / pack) for pack in packs if not (DATA / pack).is_dir()]
    if gone:
        print(f"skipped, {' and '.join(gone)} not there; set WARDROUND_DATA", file=sys.stderr)
    return not gone


def shipped(name: str, changes: Mapping[str, Any] | None = None) -> JobSpec:
    """Return a job of configs/jobs."""
    return load_job(PROJECT / "configs" / "jobs" / f"{name}.toml", dict(changes or {}))


def trained(job: JobSpec, hospitals: Hospitals, out: Path, console: Console, *, quick: bool) -> RunFolder:
    """Simulate a job and return its run; a quick one has two steps."""
    run = start(shortened(job) if quick else job, hospitals, out, "cpu", baselines=False)
    execute(run, "in-process", console)
    return run


def of_seeds(
    benchmark: str,
    about: str | None,
    packs: tuple[str, ...],
    of_seed: OfSeed,
    missed: Callable[[Figures], list[str]],
) -> None:
    """Be a benchmark's script: print each seed's figures, their means with intervals, and finish.

    Args:
        benchmark: Its name.
        about: Its help.
        packs: What it needs.
        of_seed: Measures.
        missed: Returns what is claimed and does not hold.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="one seed, two steps; held to no figure")
    options = parser.parse_args()
    if not are_there(*packs):
        finish(benchmark, conditions(), [], quick=options.quick)
    console, runs = Console(width=120), []
    for seed in [1] if options.quick else options.seeds:
        runs.append(of_seed(seed, console, quick=options.quick))
        print(runs[-1], file=sys.stderr, flush=True)
    figures = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    console.print(_table(figures))
    finish(benchmark, conditions() | figures, missed(figures), quick=options.quick)


def _table(figures: Figures) -> Table:
    table = Table(title="mean and 95 % interval over the seeds")
    for heading in ("figure", "mean", "interval"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, values in figures.items():
        table.add_row(name, f"{np.mean(values):.3f}", f"± {interval(values):.3f}")
    return table
