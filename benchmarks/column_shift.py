"""What ComBat brings where hospitals measure the same columns on scales of their own.

    python benchmarks/column_shift.py [--seeds 1 2 3] [--quick]

Six hospitals of 60 patients, 20 of whom test, and twelve columns that tell of an illness, with an offset and
a width of each hospital's own in each column. A small network learns from the columns as they are, from the
same after `wardround data harmonise`, and from columns without any shift: what could be reached. Once as many
are ill everywhere, once from a fifth to four fifths: then ComBat without covariates takes a part of the
illness for the hospital. Shown is the AUROC on the test patients; where as many are ill everywhere, ComBat
must not lose. `--quick` is one round of one seed: no figure is held.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
from common import conditions, finish, make_job
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from science import shortened

from client.data.manifest.harmonising import harmonise
from shared.job.schema import JobSpec
from simulate.session.session import Hospitals, execute, start

SITES, PATIENTS, TEST, COLUMNS = 6, 60, 20, 12
ILL = {"as many ill": np.full(SITES, 0.5), "more ill at some": np.linspace(0.2, 0.8, SITES)}
NAMES = [f"mark-{number}" for number in range(COLUMNS)]
WAYS = ("as they are", "harmonised", "without shifts")

Found = dict[str, dict[str, list[float]]]
"""Of each share of ill patients the AUROC of the seeds, by what was done to the columns."""


def main() -> None:
    """Run all, print the table, and fail where ComBat loses what it should bring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="one round of one seed; held to no figure")
    options = parser.parse_args()
    shares = list(ILL)
    if options.quick:
        options.seeds, options.rounds, shares = [1], 1, shares[:1]
    found: Found = {share: {way: [] for way in WAYS} for share in shares}
    for share in shares:
        for seed in options.seeds:
            for way, reached in of_seed(ILL[share], seed, options).items():
                found[share][way].append(round(reached, 4))
        print(share, found[share], file=sys.stderr, flush=True)
    table = Table(title=f"AUROC, {SITES} hospitals, mean of the seeds")
    for column in ("", *WAYS):
        table.add_column(column, justify="right" if column else "left")
    for share, ways in found.items():
        table.add_row(share, *(f"{mean(ways[way]):.3f}" for way in WAYS))
    Console().print(table)
    same = found[shares[0]]
    lost = mean(same["harmonised"]) < mean(same["as they are"])
    missed = ["harmonised columns tell less than those as they are"] if lost else []
    finish("column_shift", conditions() | {"auroc": found}, missed, quick=options.quick)


def of_seed(ill: NDArray[np.float64], seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Return what is reached with each way to take the columns."""
    with tempfile.TemporaryDirectory(prefix="wardround-columns-") as name:
        folder = Path(name)
        plain, shifted = written(folder, ill, seed)
        of_shifted = job_of(shifted, seed, options.rounds)
        tables = {
            "as they are": (shifted, of_shifted),
            "harmonised": (harmonise(shifted, of_shifted, folder / "harmonised.csv").path, of_shifted),
            "without shifts": (plain, job_of(plain, seed, options.rounds)),
        }
        found = {}
        for way, (table, job) in tables.items():
            own = shortened(job) if options.quick else job
            run = start(own, Hospitals(data=table), folder / "runs", "cpu", baselines=False)
            execute(run, "in-process", Console(quiet=True))
            found[way] = float(run.read_description()["test"]["federation"]["auroc"])
        return found


def written(folder: Path, ill: NDArray[np.float64], seed: int) -> tuple[Path, Path]:
    """Write the table of all hospitals without, and with the shifts of each."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, 0.35, COLUMNS)
    rows: tuple[list[list[str]], list[list[str]]] = ([], [])
    for site in range(SITES):
        offset, width = rng.normal(0, 1.5, COLUMNS), np.exp(rng.normal(0, 0.4, COLUMNS))
        is_ill = rng.random(PATIENTS) < ill[site]
        values = effect * is_ill[:, None] + rng.normal(0, 1, (PATIENTS, COLUMNS))
        for table, own in zip(rows, (values, offset + width * values), strict=True):
            for number, cells in enumerate(own.tolist()):
                side = "test" if number < TEST else "train"
                label = "ill" if is_ill[number] else "well"
                table.append([f"site-{site}", f"{site}-{number}", side, label, *map(str, cells)])
    paths = folder / "plain.csv", folder / "shifted.csv"
    for path, table in zip(paths, rows, strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["site", "patient", "split", "label", *NAMES], *table])
    return paths


def job_of(table: Path, seed: int, rounds: int) -> JobSpec:
    """Return the job of a table; it states mean and deviation of its training patients."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    values = np.array([[float(row[name]) for name in NAMES] for row in rows])
    scale = np.stack([values.mean(axis=0), values.std(axis=0)], axis=1).tolist()
    return make_job(
        task_name="classification",
        task_classes=["well", "ill"],
        task_image=False,
        task_columns=NAMES,
        task_scaling=dict(zip(NAMES, scale, strict=True)),
        model={"name": "mlp", "hidden": [16]},
        data={},
        job_seed=seed,
        job_rounds=rounds,
        training_batch_size=10,
        training_schedule="cosine",
        strategy_min_sites=SITES,
        evaluation={"select_best": None, "every": rounds},
    )


if __name__ == "__main__":
    main()
