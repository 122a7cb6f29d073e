"""Do images without labels help? The labelled part alone, beside it the rest without labels, and all labels.

    python benchmarks/few_labels.py [STUDY ...] [--seeds 1 2 3] [--shares 0.2 ...] [--set KEY=VALUE ...]
        [--quick]

All three are simulations of one shipped job and take the same number of optimiser steps. Each seed draws
other labelled patients; those of a smaller share are among those of a larger. Differences are paired: within
a seed over the test patients of all sites (bootstrap), and over the seeds (Student's t).
"""

import argparse
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from common import conditions, finish
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from client.data.manifest.splits import SplitTable
from server.runs.folder import RunFolder
from shared.job.schema import JobSpec, load_job
from shared.metrics.replicates import Tables, patients_in
from shared.run_folder import PATIENTS, REHEARSAL
from shared.tasks import make_task
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data"))
ALONE, BOTH, ALL = "labelled alone", "with unlabelled", "all labels"
_DRAWS = 2000


@dataclass(frozen=True)
class Study:
    """A shipped job.

    Attributes:
        pack: The folder of its data.
        metric: That is compared; more is better.
        shares: Of the training patients, whose labels are used.
        least_gain: By how much unlabelled images must help, in the mean over seeds and at every share.
    """

    pack: str
    metric: str
    shares: tuple[float, ...]
    least_gain: float


STUDIES = {
    "brain-few-labels": Study("brain_lgg_5sites_2d", "dice_global", (0.2,), 0.03),
    "skin-few-labels": Study("skin_ham_4sites", "balanced_accuracy", (0.05, 0.1, 0.25), 0.0),
}


def main() -> None:
    """Run the studies asked for, print one table, and fail where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], help="all of them, if none is named")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--shares", nargs="+", type=float, help="in place of the study's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the job, as in TOML")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, one share, one round of two steps; no figure is held"
    )
    options = parser.parse_args()
    console, missed = Console(), list[str]()
    figures: dict[str, Any] = {**conditions(), "skipped": {}}
    table = Table(title="On the test patients of all sites")
    for column in ("study", "labels", "seed", ALONE, BOTH, ALL, "gain (95 %)"):
        table.add_column(column)
    for name in options.studies or list(STUDIES):
        study = STUDIES[name]
        if not (DATA / study.pack).is_dir():
            figures["skipped"][name] = f"{DATA / study.pack} is not there; set WARDROUND_DATA"
            continue
        shares = options.shares or study.shares
        for share in shares[: 1 if options.quick else None]:
            found = {
                seed: compared(name, share, seed, options)
                for seed in options.seeds[: 1 if options.quick else None]
            }
            for seed, row in found.items():
                table.add_row(name, f"{share:g}", str(seed), *_cells(row))
            gains = [row["gain"] for row in found.values()]
            figures[f"{name} {share:g}"] = {"seeds": found, "gain": over_seeds(gains)}
            if not np.mean(gains) >= study.least_gain:
                missed.append(f"{name} at {share:g}: {np.mean(gains):.3f}, not {study.least_gain}")
    console.print(table)
    finish("few_labels", figures, missed, quick=options.quick)


def compared(name: str, share: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the metric of the three, and how much is gained by images without labels, with its interval."""
    study = STUDIES[name]
    drawn = {how: resampled(name, share, seed, how, options)[study.metric] for how in (ALONE, BOTH, ALL)}
    gain = drawn[BOTH] - drawn[ALONE]
    low, high = np.nanpercentile(gain[1:], (2.5, 97.5))
    return {
        **{how: round(float(values[0]), 4) for how, values in drawn.items()},
        "gain": round(float(gain[0]), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def resampled(
    name: str, share: float, seed: int, how: str, options: argparse.Namespace
) -> Mapping[str, NDArray[np.float64]]:
    """Return what `metrics_of` says of a run."""
    job = job_of(name, seed, how, options)
    shares = SplitTable(labelled=1.0 if how == ALL else share)
    with tempfile.TemporaryDirectory(prefix="wardround-few-labels-") as out:
        folder = start(
            job, Hospitals(data=DATA / STUDIES[name].pack, shares=shares), Path(out), "auto", baselines=False
        )
        execute(folder, str(len(os.sched_getaffinity(0))), Console())
        return metrics_of(folder, job)


def metrics_of(folder: RunFolder, job: JobSpec) -> Mapping[str, NDArray[np.float64]]:
    """Return the metrics of a run on its test patients as they are, and as often as they are drawn anew."""
    sites = tables_of(folder)
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


def job_of(name: str, seed: int, how: str, options: argparse.Namespace) -> JobSpec:
    """Return the shipped job, of those without unlabelled images one that leaves them out."""
    changes: dict[str, Any] = {"job.seed": seed}
    for one in options.set:
        key, _, value = one.partition("=")
        changes[key] = tomllib.loads(f"value = {value}")["value"]
    if how != BOTH:
        changes["task.unlabelled"] = {"method": "leave-out"}
        changes = {key: value for key, value in changes.items() if not key.startswith("task.unlabelled.")}
    if options.quick:
        changes |= {"job.rounds": 1, "training.local_steps": 2}
    return load_job(PROJECT / "configs" / "jobs" / f"{name}.toml", changes)


def tables_of(folder: RunFolder) -> dict[str, Tables]:
    """Return what is kept of the test patients of each site of a run, in the order of the names."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in safetensors.torch.load_file(folder.path / REHEARSAL / PATIENTS).items():
        site, _, table = name.partition("/")
        found.setdefault(site, {})[table] = values
    return dict(sorted(found.items()))


def over_seeds(gains: list[float]) -> dict[str, Any]:
    """Return the mean of gains, and half the width of its 95 % interval (Student's t)."""
    half = float(stats.sem(gains) * stats.t.ppf(0.975, len(gains) - 1)) if len(gains) > 1 else float("nan")
    return {"mean": round(float(np.mean(gains)), 4), "half_width": round(half, 4), "seeds": len(gains)}


def _cells(row: Mapping[str, Any]) -> list[str]:
    low, high = row["interval"]
    return [
        *(f"{row[how]:.3f}" for how in (ALONE, BOTH, ALL)),
        f"{row['gain']:+.3f} ({low:+.3f} to {high:+.3f})",
    ]


if __name__ == "__main__":
    main()
