"""Whose labels teach most? Images chosen by a model beside images drawn at random, as many of either.

    python benchmarks/active_labels.py [--seeds 1 2 3] [--by entropy bald core-set] [--first 0.05]
        [--added 0.05] [--set KEY=VALUE ...] [--quick]

Each site of skin_ham_4sites begins with the labels of a few of its training images, drawn; a federation
trains on these; each site lists as many again among its own, as `wardround client label list` does; and a
second federation trains on both, as long as the first. All are configs/jobs/skin-few-labels.toml, which
leaves out what has no label. Differences are paired over the test patients of all sites (bootstrap).
"""

import argparse
import csv
import os
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import conditions, finish
from few_labels import metrics_of, over_seeds
from rich.console import Console
from rich.table import Table

from client.data.manifest.rows import scan_manifest
from client.labelling.ranking import By, ranked
from client.predict.answering import Predictor
from client.training.device import open_device
from server.runs.folder import RunFolder
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec, load_job
from shared.seeds import seed_of
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data")) / "skin_ham_4sites"
JOB = PROJECT / "configs" / "jobs" / "skin-few-labels.toml"
METRIC = "balanced_accuracy"
RANDOM: By = "random"

Rows = list[dict[str, str]]


def main() -> None:
    """Run all, print one table, and fail where entropy is not above chance in the mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--by", nargs="+", default=["entropy", "bald", "core-set"])
    parser.add_argument("--first", type=float, default=0.05, help="share of the images with a label at first")
    parser.add_argument("--added", type=float, default=0.05, help="share that is labelled then")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the job, as in TOML")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a round of two steps; held to no figure"
    )
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there; set WARDROUND_DATA")
    found = {seed: of_seed(seed, options) for seed in options.seeds[: 1 if options.quick else None]}
    table = Table(title=f"{METRIC} on the test patients of all sites")
    for column in ("seed", "labels", "at first", RANDOM, *options.by):
        table.add_column(column)
    for seed, row in found.items():
        cells = [f"{row[by]['value']:.3f} ({row[by]['gain']:+.3f})" for by in options.by]
        table.add_row(str(seed), str(row["labels"]), f"{row['first']:.3f}", f"{row[RANDOM]:.3f}", *cells)
    Console().print(table)
    gains = {by: over_seeds([row[by]["gain"] for row in found.values()]) for by in options.by}
    missed = [f"entropy is not above random: {gains['entropy']}"] if "entropy" in gains else []
    missed = missed if missed and not gains["entropy"]["mean"] > 0 else []
    finish("active_labels", {**conditions(), "seeds": found, "gains": gains}, missed, quick=options.quick)


def of_seed(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a seed's first model, and those after it, reach."""
    job = job_of(seed, options)
    rows = read(DATA / "manifest.csv")
    with tempfile.TemporaryDirectory(prefix="wardround-active-") as place:
        folder = Path(place)
        first = drawn(rows, options.first, seed)
        run = trained(job, written(rows, first, folder / "first.csv"), folder / "runs")
        scores = {"first": metrics_of(run, job)[METRIC]}
        for by in (RANDOM, *options.by):
            chosen = first | listed(run, rows, folder / "first.csv", by, options.added)
            after = trained(job, written(rows, chosen, folder / f"{by}.csv"), folder / "runs")
            scores[by] = metrics_of(after, job)[METRIC]
    told: dict[str, Any] = {"labels": len(chosen), "first": round(float(scores["first"][0]), 4)}
    told[RANDOM] = round(float(scores[RANDOM][0]), 4)
    for by in options.by:
        gain = scores[by] - scores[RANDOM]
        low, high = np.nanpercentile(gain[1:], (2.5, 97.5))
        told[by] = {
            "value": round(float(scores[by][0]), 4),
            "gain": round(float(gain[0]), 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
        }
    return told


def job_of(seed: int, options: argparse.Namespace) -> JobSpec:
    """Return the shipped job, with dropout for BALD, which leaves out what has no label."""
    changes: dict[str, Any] = {
        "job.seed": seed,
        "task.unlabelled": {"method": "leave-out"},
        "model.dropout": 0.2,
    }
    for one in options.set:
        key, _, value = one.partition("=")
        changes[key] = tomllib.loads(f"value = {value}")["value"]
    if options.quick:
        changes |= {"job.rounds": 1, "training.local_steps": 2}
    return load_job(JOB, changes)


def read(manifest: Path) -> Rows:
    """Return the rows of a manifest, with absolute names of images."""
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row | {"image": str(manifest.parent / row["image"])} for row in rows]


def drawn(rows: Rows, share: float, seed: int) -> set[str]:
    """Return the images whose labels a federation begins with: a share of each site's."""
    chosen: set[str] = set()
    for site, own in of_sites(rows).items():
        order = np.random.default_rng(seed_of("first labels", site, seed)).permutation(len(own))
        chosen |= {own[place]["image"] for place in order[: max(2, round(share * len(own)))]}
    return chosen


def of_sites(rows: Rows) -> dict[str, Rows]:
    """Return the training rows of each site."""
    found: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if row["split"] == "train":
            found[row["site"]].append(row)
    return dict(found)


def written(rows: Rows, labelled: set[str], out: Path) -> Path:
    """Write a manifest in which training rows have a label where it is known."""
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("site", "patient", "image", "label", "split"), extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            known = row["split"] != "train" or row["image"] in labelled
            writer.writerow(row if known else row | {"label": ""})
    return out


def trained(job: JobSpec, manifest: Path, out: Path) -> RunFolder:
    """Run a federation of the sites of a manifest."""
    folder = start(job, Hospitals(data=manifest), out, "auto", baselines=False)
    execute(folder, str(len(os.sched_getaffinity(0))), Console())
    return folder


def listed(run: RunFolder, rows: Rows, manifest: Path, by: By, share: float) -> set[str]:
    """Return the images that each site lists among its own, with a run's model."""
    predictor = Predictor.of(FinishedRun.read(run.path), "best", open_device("auto"))
    found = scan_manifest(manifest)
    chosen: set[str] = set()
    for site, own in of_sites(rows).items():
        mine = found.of_site(site)
        records = [record for record in mine.records if record.split == "train"]
        wanted = max(1, round(share * len(own)))
        ranking = ranked(predictor, type(mine)(mine.path, mine.columns, records, []), by, wanted)
        chosen |= {str(one.record.images[0]) for one in ranking.rows}
    return chosen


if __name__ == "__main__":
    main()
