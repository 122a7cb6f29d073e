"""FLamby's table of Fed-TCGA-BRCA: every strategy, its published concordance beside ours.

    python benchmarks/tcga_brca.py [--seeds 42 43 44 45 46] [--quick]

Each row is simulated jobs on FLamby's own training patients: its linear Cox model, batches of 8, 5 rounds
of 100 steps, its rates and constants (config_tcga_brca.json; Ogier du Terrail et al. 2022). Judged, as
there, by Harrell's C over all pairs of its test patients, those of two regions too, and in each region. Two
things differ: batches begin anew in each round, and weights are drawn by Wardround's seeds. The published
Cyclic row is left out: it scores a model that nobody trained.

A row is stable where the published deviation is below 0.03. It fails where means are more than two standard
errors of their difference apart. `scaled` is the same FedAvg, its columns brought to mean 0 and deviation 1
over all regions; `chosen` has its rate, decay, batches and rounds from a cross-validation over the training
patients (five folds, two cuts, eleven settings). `--quick` is one seed and one round of two steps: no
figure is held.
"""

import argparse
import csv
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from common import DATA, are_there, conditions, finish, rows_of, shipped
from numpy.typing import NDArray
from on_packs import trained
from rich.console import Console
from rich.table import Table
from science import with_split

from client.data.manifest.splits import SplitTable
from server.runs.folder import RunFolder
from shared.finished_run import FinishedRun
from shared.tasks import make_task
from simulate.session.session import Hospitals

PACK = "tabular_tcga_brca6"
SEEDS = [42, 43, 44, 45, 46]
STABLE = 0.03  # published deviations below it are reproduced
ERRORS = 2.0  # standard errors of the difference of two means
GOAL, SPREAD = 0.85, 0.01  # of FedAvg on scaled columns
SERVER = {"strategy.tau": 1e-8, "strategy.beta_1": 0.9}
ADAM = {"strategy.eta": 0.1, "strategy.beta_2": 0.999}
SLOW = {"training.learning_rate": 0.01}
STRATEGIES: dict[str, dict[str, Any]] = {
    "FedAvg100": {"strategy.name": "fedavg"},
    "FedProx100": {"strategy.name": "fedprox", "strategy.proximal_mu": 0.1},
    "Scaffold100": {"strategy.name": "scaffold", "strategy.server_learning_rate": 1.0, **SLOW},
    "FedAdagrad100": {"strategy.name": "fedadagrad", "strategy.eta": 1.0, **SERVER, **SLOW},
    "FedAdam100": {
        "strategy.name": "fedadam",
        "strategy.bias_correction": False,
        **ADAM,
        **SERVER,
        **SLOW,
    },
    "FedYogi100": {"strategy.name": "fedyogi", **ADAM, **SERVER, **SLOW},
}
ALONE = {
    "job.rounds": 30,
    "training.local_steps": None,
    "training.passes": "anew",
    "training.local_epochs": 1,
    "training.optimizer": "adam",
    "training.momentum": 0.9,
    "training.keep_optimizer": True,
    "strategy.min_sites": 1,
}
"""Of a training without others, whose optimiser goes on over the rounds."""

SCALED: dict[str, dict[str, Any]] = {
    "scaled": {"strategy.name": "fedavg", "task.scaling": None},
    "chosen": {
        "strategy.name": "fedavg",
        "task.scaling": None,
        "job.rounds": 30,
        "training.local_steps": None,
        "training.passes": "anew",
        "training.local_epochs": 2,
        "training.batch_size": 256,
        "training.learning_rate": 0.5,
        "training.weight_decay": 0.05,
    },
}
"""Without a published row: columns of mean 0 and deviation 1 over all regions."""

Row = Mapping[str, list[float]]
"""The concordance of each seed, by who is tested."""


def main() -> None:
    """Run all rows, print them beside the published ones, and fail where one is not reproduced."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--rows", nargs="+", help="only these", metavar="ROW")
    parser.add_argument("--quick", action="store_true", help="seconds; held to no figure")
    options = parser.parse_args()
    if not are_there(PACK):
        finish("tcga_brca", conditions(), [], quick=options.quick)
    seeds = SEEDS[:1] if options.quick else options.seeds
    with tempfile.TemporaryDirectory(prefix="wardround-tcga-brca-") as name:
        manifests = written(Path(name))
        wanted = options.rows or (["FedAvg100", "Local 5"] if options.quick else list(manifests))
        found = {
            row: of_seeds(row, manifests[row], seeds, Path(name), quick=options.quick)
            for row in manifests
            if row in wanted
        }
    figures, missed = judged(found)
    finish("tcga_brca", conditions() | {"seeds": seeds} | figures, missed, quick=options.quick)


def written(folder: Path) -> dict[str, Path]:
    """Write what each row trains on, and return its manifest."""
    whole = with_split(DATA / PACK / "manifest.csv", "flamby_fold", folder / "whole.csv")
    rows = rows_of(whole)
    found = dict.fromkeys([*STRATEGIES, *SCALED], whole)
    found["Pooled Training"] = write([{**row, "site": "all"} for row in rows], folder / "pooled.csv")
    for number in range(6):
        own = [row for row in rows if row["flamby_center"] == str(number)]
        found[f"Local {number}"] = write(own, folder / f"local-{number}.csv")
    return found


def of_seeds(row: str, manifest: Path, seeds: list[int], out: Path, *, quick: bool) -> dict[str, list[float]]:
    """Return the concordance of each seed, by who is tested."""
    changes = {**STRATEGIES, **SCALED}.get(row, ALONE)
    found: dict[str, list[float]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory(dir=out) as folder:
            job = shipped("tcga-brca", protocol() | changes | {"job.seed": seed})
            hospitals = Hospitals(data=manifest, shares=SplitTable(validation=0.0))
            run = trained(job, hospitals, Path(folder), Console(quiet=True), quick=quick)
            for name, value in concordances(run):
                found.setdefault(name, []).append(value)
        print(row, seed, round(found["Pooled Test"][-1], 4), file=sys.stderr, flush=True)
    return found


def protocol() -> dict[str, Any]:
    """Return what the rows have in common: the columns as they are, and FLamby's batches and loss."""
    columns = shipped("tcga-brca").task.columns  # type: ignore[attr-defined]
    return {
        "job.rounds": 5,
        "task.scaling": {column: [0.0, 1.0] for column in columns},
        "task.ties": "breslow",
        "task.mean_over": "patients",
        "training.local_epochs": None,
        "training.local_steps": 100,
        "training.passes": "continued",
        "training.batch_size": 8,
        "training.learning_rate": 0.1,
        "training.weight_decay": 0.0,
        "evaluation.select_best": None,
    }


def concordances(run: RunFolder) -> Iterator[tuple[str, float]]:
    """Yield the concordance of a run's model on all test patients, and on those of each region."""
    done = FinishedRun.read(run.path)
    task = make_task(done.job).knowing(done.statistics)
    network = done.model(torch.device("cpu")).eval()
    patients = [row for row in rows_of(DATA / PACK / "manifest.csv") if row["flamby_fold"] == "test"]
    columns = done.job.task.columns  # type: ignore[attr-defined]
    record = torch.tensor([[float(row[column]) for column in columns] for row in patients])
    with torch.no_grad():
        scores = network(task.scaled(record))[:, 0].double().numpy()  # type: ignore[attr-defined]
    times, events, centers = (
        np.array([float(row[column]) for row in patients]) for column in ("time", "event", "flamby_center")
    )
    yield "Pooled Test", concordance(scores, times, events)
    for number in range(6):
        own = centers == number
        yield f"client_test_{number}", concordance(scores[own], times[own], events[own])


def concordance(
    scores: NDArray[np.float64], times: NDArray[np.float64], events: NDArray[np.float64]
) -> float:
    """Return Harrell's C: of the pairs of whom one is known to go first, how many have the higher score.

    Equal scores count half, as in lifelines, which FLamby uses.
    """
    first = (events[:, None] > 0) & (
        (times[:, None] < times[None, :]) | ((times[:, None] == times[None, :]) & (events[None, :] == 0))
    )
    said = (scores[:, None] > scores[None, :]) + 0.5 * (scores[:, None] == scores[None, :])
    return float(said[first].mean())


def judged(found: Mapping[str, Row]) -> tuple[dict[str, Any], list[str]]:
    """Print the table; return its figures, and the stable rows that are not reproduced."""
    table = Table(title="Fed-TCGA-BRCA: concordance, mean and deviation over the seeds")
    for heading in ("row", "tested on", "published", "here", "standard errors apart"):
        table.add_column(heading, justify="left" if heading in {"row", "tested on"} else "right")
    figures: dict[str, Any] = {}
    missed: list[str] = []
    known = {
        (row["Method"], row["Test"]): row for row in rows_of(DATA / PACK / "flamby_published_results.csv")
    }
    for name, tests in found.items():
        for test, values in tests.items():
            ours, spread = mean(values), stdev(values) if len(values) > 1 else math.nan
            said = known.get((name, test))
            apart = math.nan
            if said is not None:
                published, deviation = float(said["mean"]), float(said["std"])
                error = math.sqrt(deviation**2 / int(said["n"]) + spread**2 / len(values))
                ours = round(ours, 4)  # as the published ones are
                apart = 0.0 if ours == published else abs(ours - published) / error if error else math.inf
                if deviation < STABLE and not apart <= ERRORS:
                    missed.append(f"{name} on {test}: {ours:.4f}, published {published:.4f}")
            shown = f"{published:.3f} ± {deviation:.3f}" if said is not None else "-"
            table.add_row(name, test, shown, f"{ours:.3f} ± {spread:.3f}", f"{apart:.1f}")
            figures.setdefault(name, {})[test] = [round(value, 4) for value in values]
    Console(width=120).print(table)
    if "chosen" in found:
        values = found["chosen"]["Pooled Test"]
        if len(values) > 1 and not (mean(values) >= GOAL and stdev(values) < SPREAD):
            missed.append(
                f"FedAvg as chosen: {mean(values):.4f} ± {stdev(values):.4f}, not {GOAL} ± {SPREAD}"
            )
    return figures, missed


def write(rows: list[dict[str, str]], path: Path) -> Path:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


if __name__ == "__main__":
    main()
