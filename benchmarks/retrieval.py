"""Is what a federated model finds alike of the same diagnosis? Within each source's own archive.

    python benchmarks/retrieval.py [--seeds 1 2 3] [--quick]

The shipped job `skin-lesions`, over its four sources and pooled. Then, as `wardround retrieve` does it, each
source searches its own training images for its test images: precision of the first 5 and mean average
precision of the first 10, means over the queries of all sources, beside images drawn at random. `by class` is
the mean over the diagnoses of the precision of each one's queries. `one archive` has the training images of
all sources, which no hospital has: a source's own archive holds fewer diagnoses, so chance is higher there.
Claimed, of the means over the seeds: precision at least twice that of chance, in each source's own archive
and in the one of all, and in each source's own 0.9 of the pooled model's.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from common import DATA, rows_of, shipped
from on_packs import Figures, of_seeds, trained
from rich.console import Console

from client.retrieve.run import retrieve_with
from client.retrieve.search import Goodness
from client.retrieve.write import TABLE
from simulate.session.session import Hospitals

PACK = "skin_ham_4sites"
FIRST, MORE = 5, 10
ALL = "all"  # the archive of all sources


def main() -> None:
    """Train, search, print the table and the figures; exit with 1 where a claim fails."""
    of_seeds("retrieval", __doc__, (PACK,), of_seed, missed=missed)


def of_seed(seed: int, asked: argparse.Namespace, console: Console) -> dict[str, float]:
    """Return the figures of a federated and a pooled model."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="wardround-retrieval-") as place:
        folder = Path(place)
        sites = archives(folder)
        for name in ("federated", "pooled"):
            changes = {"job.seed": seed} | ({"strategy.min_sites": 1} if name == "pooled" else {})
            job = shipped("skin-lesions", changes)
            data = DATA / PACK if name == "federated" else folder / "pooled.csv"
            hospitals = Hospitals(data=data, count=1 if name == "pooled" else None)
            run = trained(job, hospitals, folder / name, console, quick=asked.quick)
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
        for row in rows_of(table):
            right.setdefault(row["label"], []).append(row["label"] == row["found_label"])
    return float(np.mean([np.mean(of_label) for of_label in right.values()]))


def mean(found: list[Goodness], name: str) -> float:
    """Return a figure over all queries."""
    return float(np.average([getattr(one, name) for one in found], weights=[one.queries for one in found]))


def archives(folder: Path) -> list[str]:
    """Write a manifest of each source and side of the split, and those of all; return the sources."""
    rows = rows_of(DATA / PACK / "manifest.csv")
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


def missed(figures: Figures) -> list[str]:
    """Return what is claimed and does not hold."""
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    own, pooled = means[f"federated, precision of {FIRST}"], means[f"pooled, precision of {FIRST}"]
    found = []
    if own < 2 * means["chance"]:
        found.append("what is found is less than twice as often right as chance")
    if means[f"federated, one archive, precision of {FIRST}"] < 2 * means["one archive, chance"]:
        found.append("in one archive of all, what is found is less than twice as often right as chance")
    if own < 0.9 * pooled:
        found.append("the federated model is below 0.9 of the pooled one")
    return found


if __name__ == "__main__":
    main()
