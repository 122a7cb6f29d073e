"""What benchmarks share that train a shipped job on real data: a run, its test resampled, several seeds."""

import argparse
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.torch
from common import conditions, finish, need
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from science import interval, shortened

from server.runs.folder import RunFolder
from shared.job.schema import JobSpec
from shared.metrics.replicates import Tables, patients_in
from shared.run_folder import PATIENTS, REHEARSAL
from shared.tasks import make_task
from simulate.session.session import Hospitals, execute, start

_DRAWS = 2000

Figures = Mapping[str, list[float]]
"""By name, the figure of each seed."""


class OfSeed(Protocol):
    """Returns the figures of one seed; told what was asked for, and on which console its runs go."""

    def __call__(self, seed: int, asked: argparse.Namespace, console: Console) -> dict[str, float]: ...  # noqa: D102


def settable(parser: argparse.ArgumentParser) -> None:
    """Let other values of a job's keys be given; see `changes_of`."""
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the job, as in TOML")


def changes_of(settings: list[str]) -> dict[str, Any]:
    """Return values by dotted key, of texts KEY=VALUE with values as in TOML."""
    pairs = (text.partition("=") for text in settings)
    return {key: tomllib.loads(f"value = {value}")["value"] for key, _, value in pairs}


def trained(job: JobSpec, hospitals: Hospitals, out: Path, console: Console, *, quick: bool) -> RunFolder:
    """Simulate a job and return its run; a quick one has two steps."""
    run = start(shortened(job) if quick else job, hospitals, out, "auto", baselines=False)
    execute(run, "in-process" if quick else str(len(os.sched_getaffinity(0))), console)
    return run


def resampled(run: RunFolder, job: JobSpec) -> Mapping[str, NDArray[np.float64]]:
    """Return the metrics of a run on its test patients as they are, and as often as they are drawn anew."""
    sites = _tables_of(run)
    patients = sum(patients_in(tables) for tables in sites.values())
    generator = np.random.default_rng(0)  # the same draws for all that are compared
    draws = np.vstack(
        [
            np.ones(patients, np.int64),
            generator.multinomial(patients, np.full(patients, 1 / patients), _DRAWS),
        ]
    )
    task = make_task(job)
    return task.metrics(task.fine_edges()).resampled(list(sites.values()), draws)


def gained(name: str, after: NDArray[np.float64], before: NDArray[np.float64]) -> dict[str, float]:
    """Return a resampled metric as it is, and its gain over another with the 95 % interval of the draws.

    Args:
        name: Of what is measured; the gain is called `NAME, gain`.
        after: As `resampled` gives it.
        before: The same of what it is compared with.
    """
    gain = after - before
    low, high = np.nanpercentile(gain[1:], (2.5, 97.5))
    called = f"{name}, gain"
    found = {name: after[0], called: gain[0], f"{called} from": low, f"{called} to": high}
    return {key: float(value) for key, value in found.items()}


def of_seeds(
    benchmark: str,
    about: str | None,
    packs: tuple[str, ...],
    of_seed: OfSeed,
    *,
    missed: Callable[[Figures], list[str]],
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Be a benchmark's script: print each seed's figures, their means with intervals, and finish.

    Args:
        benchmark: Its name.
        about: Its help.
        packs: What it needs.
        of_seed: Measures.
        missed: Returns what is claimed and does not hold.
        add_options: Adds what may be asked for besides `--seeds` and `--quick`.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="one seed, two steps; held to no figure")
    asked = parser.parse_args()
    need(benchmark, *packs, quick=asked.quick)
    console, runs = Console(width=120), []
    for seed in [1] if asked.quick else asked.seeds:
        runs.append(of_seed(seed, asked, console))
        print(runs[-1], file=sys.stderr, flush=True)
    figures = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    console.print(_table(figures))
    finish(benchmark, conditions() | figures, missed(figures), quick=asked.quick)


def _tables_of(run: RunFolder) -> dict[str, Tables]:
    """Return what is kept of the test patients of each site of a run, in the order of the names."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in safetensors.torch.load_file(run.path / REHEARSAL / PATIENTS).items():
        site, _, table = name.partition("/")
        found.setdefault(site, {})[table] = values
    return dict(sorted(found.items()))


def _table(figures: Figures) -> Table:
    table = Table(title="mean and 95 % interval over the seeds")
    for heading in ("figure", "mean", "interval"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, values in figures.items():
        table.add_row(name, f"{np.mean(values):.3f}", f"± {interval(values):.3f}")
    return table
