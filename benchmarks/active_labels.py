"""Whose labels teach most? Images chosen by a model beside images drawn at random, as many of either.

    python benchmarks/active_labels.py [--seeds 1 2 3] [--by entropy bald core-set] [--first 0.05]
        [--added 0.05] [--set KEY=VALUE ...] [--quick]

Each site of skin_ham_4sites begins with the labels of a few of its training images, drawn; a federation
trains on these; each site lists as many again among its own, as `wardround client label list` does; and a
second federation trains on both, as long as the first. All are configs/jobs/skin-few-labels.toml, which
leaves out what has no label. A gain is over the images drawn at random, and paired: its interval within a
seed is over the test patients of all sites (bootstrap). Claimed: that of entropy is above 0 in the mean.
"""

import argparse
import csv
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, rows_of, shipped
from numpy.typing import NDArray
from on_packs import Figures, changes_of, gained, of_seeds, resampled, settable, trained
from rich.console import Console

from client.data.manifest.rows import scan_manifest
from client.labelling.ranking import By, ranked
from client.predict.answering import Predictor
from client.training.device import open_device
from server.runs.folder import RunFolder
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec
from shared.seeds import seed_of
from simulate.session.session import Hospitals

PACK, METRIC = "skin_ham_4sites", "balanced_accuracy"
RANDOM: By = "random"

Rows = list[dict[str, str]]


def main() -> None:
    """Run all, print one table, and fail where entropy is not above chance in the mean."""
    of_seeds("active_labels", __doc__, (PACK,), of_seed, missed=missed, add_options=add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the ways to choose, and how many labels there are, be chosen."""
    parser.add_argument("--by", nargs="+", default=["entropy", "bald", "core-set"])
    parser.add_argument("--first", type=float, default=0.05, help="share of the images with a label at first")
    parser.add_argument("--added", type=float, default=0.05, help="share that is labelled then")
    settable(parser)


def of_seed(seed: int, asked: argparse.Namespace, console: Console) -> dict[str, float]:
    """Return what a seed's first model, and those after it, reach."""
    job = job_of(seed, asked.set)
    rows = read(DATA / PACK / "manifest.csv")
    with tempfile.TemporaryDirectory(prefix="wardround-active-") as place:
        folder = Path(place)

        def learnt(labelled: set[str], name: str) -> RunFolder:
            manifest = written(rows, labelled, folder / f"{name}.csv")
            return trained(job, Hospitals(data=manifest), folder / "runs", console, quick=asked.quick)

        def reached(run: RunFolder) -> NDArray[np.float64]:
            return resampled(run, job)[METRIC]

        first = drawn(rows, asked.first, seed)
        run = learnt(first, "first")
        after = {}
        for by in (RANDOM, *asked.by):
            chosen = first | listed(run, rows, folder / "first.csv", by, asked.added)
            after[by] = reached(learnt(chosen, by))
        found = {"labels": float(len(chosen)), "at first": float(reached(run)[0])}
    found[RANDOM] = float(after[RANDOM][0])
    for by in asked.by:
        found |= gained(by, after[by], after[RANDOM])
    return found


def job_of(seed: int, settings: list[str]) -> JobSpec:
    """Return the shipped job, with dropout for BALD, which leaves out what has no label."""
    changes: dict[str, Any] = {
        "job.seed": seed,
        "task.unlabelled": {"method": "leave-out"},
        "model.dropout": 0.2,
    }
    return shipped("skin-few-labels", changes | changes_of(settings))


def read(manifest: Path) -> Rows:
    """Return the rows of a manifest, with absolute names of images."""
    rows = rows_of(manifest)
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


def missed(figures: Figures) -> list[str]:
    """Return whether entropy does not help, if it was asked for."""
    gains = figures.get("entropy, gain", [])
    return [f"entropy is not above {RANDOM}: {gains}"] if gains and not np.mean(gains) > 0 else []


if __name__ == "__main__":
    main()
