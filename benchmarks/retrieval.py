"""Is what a federated model finds alike of the same diagnosis? Within each source's own archive.

    python benchmarks/retrieval.py [--seeds 1 2 3] [--quick]

The shipped job `skin-lesions`, over its four sources and pooled. Then, as `wardround retrieve` does it, each
source searches its own training images for its test images: precision of the first 5 and mean average
precision of the first 10, means over the queries of all sources, beside images drawn at random. `by class` is
the mean over the diagnoses of the precision of each one's queries. `one archive` has the training images of
all sources, which no hospital has: a source's own archive holds fewer diagnoses, so chance is higher there.
Claimed, of the means over the seeds: precision at least twice that of chance where there is one archive, and
0.9 of the pooled model's in each source's own.
"""

import argparse
import csv
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import conditions, finish
from rich.console import Console
from rich.table import Table
from science import interval, shortened

from client.retrieve.run import retrieve_with
from client.retrieve.search import Goodness
from client.retrieve.write import TABLE
from shared.job.schema import load_job
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data"))
PACK = "skin_ham_4sites"
FIRST, MORE = 5, 10
ALL = "all"  # the archive of all sources


def main() -> None:
    """Train, search, print the table and the figures; exit with 1 where a claim fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="one seed, two steps; held to no figure")
    options = parser.parse_args()
    console, seeds = Console(width=120), [1] if options.quick else options.seeds
    if not (DATA / PACK).is_dir():
        print(f"skipped, {DATA / PACK} is not there; set WARDROUND_DATA", file=sys.stderr)
        finish("retrieval", conditions(), [], quick=options.quick)
    runs = []
    for seed in seeds:
        runs.append(of_seed(seed, console, quick=options.quick))
        print(runs[-1], file=sys.stderr, flush=True)
    figures = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    table = Table(title="mean and 95 % interval over the seeds")
    for heading in ("figure", "mean", "interval"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, values in figures.items():
        table.add_row(name, f"{np.mean(values):.3f}", f"± {interval(values):.3f}")
    console.print(table)
    finish("retrieval", conditions() | figures, missed(figures), quick=options.quick)


def of_seed(seed: int, console: Console, *, quick: bool) -> dict[str, float]:
    """Return the figures of a federated and a pooled model."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="wardround-retrieval-") as place:
        folder = Path(place)
        sites = archives(folder)
        for name in ("federated", "pooled"):
            changes = {"job.seed": seed} | ({"strategy.min_sites": 1} if name == "pooled" else {})
            job = load_job(PROJECT / "configs" / "jobs" / "skin-lesions.toml", changes)
            data = DATA / PACK if name == "federated" else folder / "pooled.csv"
            hospitals = Hospitals(data=data, count=1 if name == "pooled" else None)
            run = start(shortened(job) if quick else job, hospitals, folder / name, "cpu", baselines=False)
            execute(run, "in-process", console)
            first = [searched(run.path, folder, site, FIRST, name) for site in sites]
            more = [searched(run.path, folder, site, MORE, name) for site in sites]
            one = searched(run.path, folder, ALL, FIRST, name)
            found[f"{name}, precision of {FIRST}"] = mean(first, "precision")
            found[f"{name}, precision of {FIRST} by class"] = by_class(folder, sites, name)
            found[f"{name}, mAP of {MORE}"] = mean(more, "mean_average_precision")
            found[f"{name}, recall of {FIRST}"] = mean(first, "recall")
            found[f"{name}, one archive, precision of {FIRST}"] = one.precision
            found[f"{name}, one archive, precision of {FIRST} by class"] = by_class(folder, [ALL], name)
            found["chance"], found["one archive, chance"] = mean(first, "chance"), one.chance
    return found


def searched(run: Path, folder: Path, site: str, count: int, name: str) -> Goodness:
    """Search a source's archive for its test images."""
    archive, query = (folder / f"{site}-{side}.csv" for side in ("train", "test"))
    out = found_in(folder, site, count, name)
    told = retrieve_with(run, archive, query, out, count=count, device="cpu").goodness
    assert told is not None
    return told


def found_in(folder: Path, site: str, count: int, name: str) -> Path:
    """Return where the answers of a search are."""
    return folder / f"{site}-{name}-{count}"


def by_class(folder: Path, sites: list[str], name: str) -> float:
    """Return the mean over the labels of the precision of the first 5 for its queries at all sites."""
    right: dict[str, list[bool]] = {}
    for site in sites:
        table = found_in(folder, site, FIRST, name) / TABLE
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                right.setdefault(row["label"], []).append(row["label"] == row["found_label"])
    return float(np.mean([np.mean(of_label) for of_label in right.values()]))


def mean(found: list[Goodness], name: str) -> float:
    """Return a figure over all queries."""
    return float(np.average([getattr(one, name) for one in found], weights=[one.queries for one in found]))


def archives(folder: Path) -> list[str]:
    """Write a manifest of each source and side of the split, and those of all; return the sources."""
    with (DATA / PACK / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sites = sorted({row["site"] for row in rows})
    for site in (*sites, ALL):
        for side in ("train", "test"):
            own = [row for row in rows if row["split"] == side and site in (row["site"], ALL)]
            write(folder / f"{site}-{side}.csv", own)
    write(folder / "pooled.csv", rows)
    return sites


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a manifest with files named in full."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("patient", "image", "label", "split"))
        for row in rows:
            writer.writerow(
                (row["patient"], DATA.resolve() / PACK / row["image"], row["label"], row["split"])
            )


def missed(figures: dict[str, list[float]]) -> list[str]:
    """Return what is claimed and does not hold."""
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    own, pooled = means[f"federated, precision of {FIRST}"], means[f"pooled, precision of {FIRST}"]
    found = []
    if means[f"federated, one archive, precision of {FIRST}"] < 2 * means["one archive, chance"]:
        found.append("what is found is less than twice as often right as chance")
    if own < 0.9 * pooled:
        found.append("the federated model is below 0.9 of the pooled one")
    return found


if __name__ == "__main__":
    main()
