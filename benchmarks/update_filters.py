"""What filters of the update cost and save: Dice and bytes of brain-lgg with each, beside the plain run.

    python benchmarks/update_filters.py [--rounds 20] [--seeds 1] [--quick]

Each run is `wardround simulate` of the shipped job with another [update] table; `--quick` is two rounds of
two steps on synthetic discs, too short for its figures to mean something: no figure is held.
"""

import argparse
import csv
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import DATA, conditions, finish, shipped, write_hospitals
from rich.console import Console
from rich.table import Table

from server.runs.folder import RunFolder
from shared.job.schema import JobSpec, TrainingTable
from simulate.session.session import Hospitals, execute, start

PACK = DATA / "brain_lgg_5sites_2d"
PLAIN = "plain"
UPPER = [  # levels of the U-Net, without the lowest, which has nearly half of the numbers
    "model.0",
    "model.1.submodule.0",
    "model.1.submodule.1.submodule.0",
    "model.1.submodule.1.submodule.2",
    "model.1.submodule.2",
    "model.2",
]


@dataclass(frozen=True)
class Filter:
    """An [update] table and what it promises, as shares of the plain run."""

    most_bytes: float
    least_dice: float
    update: dict[str, Any] = field(default_factory=dict)


FILTERS = {
    PLAIN: Filter(1.0, 1.0),
    "bfloat16": Filter(0.51, 0.97, {"precision": "bfloat16"}),
    "float16": Filter(0.51, 0.97, {"precision": "float16"}),
    "int8": Filter(0.27, 0.97, {"compression": "int8"}),
    "top-k 5 %": Filter(0.11, 0.9, {"compression": "top-k", "keep": 0.05}),
    "top-k 5 %, bfloat16": Filter(0.08, 0.9, {"compression": "top-k", "keep": 0.05, "precision": "bfloat16"}),
    "clip 2": Filter(1.01, 0.9, {"clip": 2.0}),
    "upper parts": Filter(0.56, 0.9, {"parts": UPPER}),
}


@dataclass(frozen=True)
class Outcome:
    """What one run brought."""

    dice: float
    bytes: float  # of a site's update in a round


def main() -> None:
    """Run the job with each filter, print the table, and fail where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--quick", action="store_true", help="seconds; held to no figure")
    options = parser.parse_args()
    figures: dict[str, Any] = conditions()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="wardround-filters-") as name:
        folder = Path(name)
        data = write_hospitals(folder / "data", 3, 9, 32, ("train", "val", "test")) if options.quick else PACK
        seeds, rounds = ([1], 2) if options.quick else (options.seeds, options.rounds)
        outcomes = {
            name: mean([run(name, seed, rounds, data, folder, quick=options.quick) for seed in seeds])
            for name in FILTERS
        }
    figures |= {"rounds": rounds, "seeds": seeds}
    missed = show(outcomes, figures, console)
    finish("update_filters", figures, missed, quick=options.quick)


def run(name: str, seed: int, rounds: int, data: Path, out: Path, *, quick: bool) -> Outcome:
    """Run the job with one filter."""
    overrides: dict[str, Any] = {"job.seed": seed, "job.rounds": rounds}
    overrides |= {f"update.{key}": value for key, value in FILTERS[name].update.items()}
    job = shipped("brain-lgg", overrides)
    if quick:
        job = shortened(job)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        run_folder = start(job, Hospitals(data=data), Path(folder), "cpu", baselines=False)
        workers = "in-process" if quick else str(len(os.sched_getaffinity(0)))
        execute(run_folder, workers, Console(quiet=True))
        dice = run_folder.read_description()["test"]["federation"]["dice_global"]
        return Outcome(dice, bytes_of_an_update(run_folder))


def shortened(job: JobSpec) -> JobSpec:
    """Return the job with two steps a round, for the small discs."""
    training = job.training.model_dump() | {"local_epochs": None, "local_steps": 2}
    data = job.data.model_copy(update={"size": [32, 32], "channels": 1})
    strategy = job.strategy.model_copy(update={"min_patients": 1})
    changes = {"data": data, "strategy": strategy, "training": TrainingTable(**training)}
    return job.model_copy(update=changes)


def bytes_of_an_update(folder: RunFolder) -> float:
    """Return the mean over sites and rounds, as `sites.csv` has them."""
    with (folder.path / "sites.csv").open(encoding="utf-8", newline="") as file:
        sent = [int(row["bytes"]) for row in csv.DictReader(file) if row["phase"] == "train"]
    return sum(sent) / len(sent)


def mean(outcomes: list[Outcome]) -> Outcome:
    """Return the mean over the seeds."""
    count = len(outcomes)
    return Outcome(sum(one.dice for one in outcomes) / count, sum(one.bytes for one in outcomes) / count)


def show(outcomes: dict[str, Outcome], figures: dict[str, Any], console: Console) -> list[str]:
    """Print the table, add its figures, return what was missed."""
    table = Table(
        title="brain-lgg: the update that each site sends in a round, and the model that comes of it"
    )
    for column in ("filter", "kB", "of plain", "at most", "dice global", "of plain", "at least"):
        table.add_column(column, justify="right" if column != "filter" else "left")
    plain, missed = outcomes[PLAIN], []
    for name, outcome in outcomes.items():
        promise = FILTERS[name]
        share, dice = outcome.bytes / plain.bytes, outcome.dice / plain.dice if plain.dice else 0.0
        table.add_row(
            name,
            f"{outcome.bytes / 1000:.1f}",
            f"{share:.3f}",
            f"{promise.most_bytes:.2f}",
            f"{outcome.dice:.3f}",
            f"{dice:.3f}",
            f"{promise.least_dice:.2f}",
        )
        figures[name] = {"bytes": outcome.bytes, "of_plain": round(share, 4), "dice": round(outcome.dice, 4)}
        if share > promise.most_bytes:
            missed.append(f"{name}: {share:.3f} of the plain bytes, not {promise.most_bytes}")
        if dice < promise.least_dice:
            missed.append(f"{name}: {dice:.3f} of the plain Dice, not {promise.least_dice}")
    console.print(table)
    return missed


if __name__ == "__main__":
    main()
