"""Do explanations point at what they should? Lesions, deleted pixels, and weights that are drawn anew.

    python benchmarks/explanations.py [skin] [ultrasound] [--run RUN] [--images 200] [--quick]

A federation is trained as the shipped job `skin-lesions` says; and one on breast ultrasound, whose images
with a mask are all kept for the test. Then for images of the test, each method's map of the predicted class:

- pointing game (Zhang et al., ECCV 2016): is its highest pixel within the lesion? Beside it the centre of the
  image. Lesions of the skin lie there, so their images are also moved, at random, by up to 0.35 of a side;
- deletion (Petsiuk et al., BMVC 2018): pixels become zero, those of the map first; the area below the curve
  of the probability, beside that where pixels go from the centre outwards: the smaller, the better;
- weights drawn anew (Adebayo et al., NeurIPS 2018): the rank correlation of the map's size with that of a
  network that has learnt nothing. Near 1, a map says something of the image alone.

Intervals of 95 % are of a bootstrap over images. Claimed: on moved images and on ultrasound the best method
points better than the centre, paired; no method's correlation is above 0.5.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DATA, are_there, conditions, finish, make_job, rows_of, shipped
from numpy.typing import NDArray
from on_packs import trained
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from client.data.cache.preprocess import prepare
from client.data.kinds import kinds_of
from client.data.manifest.rows import scan_manifest
from client.explain.methods import METHODS
from client.explain.subject import Subject
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.networks.modes import asked
from simulate.session.session import Hospitals

NAMES = ("grad-cam", "integrated-gradients", "smooth-gradient", "shap", "occlusion", "lime")
PACKS = {"skin": "skin_ham_4sites", "ultrasound": "ultrasound_busi"}
CENTRE = "centre"
FARTHEST = 0.35  # of a side, that an image is moved
STEPS = 16  # of deletion
COMPARED = 16
Figures = dict[str, dict[str, list[float]]]
"""By method, by what is measured: a number for each image."""


@dataclass(frozen=True)
class Case:
    """An image (C, *S) as the network sees it, and where its lesion is (*S)."""

    image: Tensor
    lesion: NDArray[np.bool_]


def main() -> None:
    """Train, explain, print the tables and the figures; exit with 1 where a claim fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packs", nargs="*", choices=[*PACKS, []], help="all of them, if none is named")
    parser.add_argument("--run", type=Path, help="a finished run of skin-lesions, in place of a new one")
    parser.add_argument("--images", type=int, default=200, help="of the test that are explained, at most")
    parser.add_argument("--quick", action="store_true", help="two steps, two images; held to no figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console, missed, figures = Console(width=150), list[str](), dict[str, Any](conditions())
    for pack in options.packs or PACKS:
        if not are_there(PACKS[pack]):
            continue
        with tempfile.TemporaryDirectory(prefix="wardround-explanations-") as folder:
            manifest = manifest_of(pack, Path(folder))
            run = options.run if pack == "skin" else None
            run = run or train(pack, manifest, Path(folder), console, quick=options.quick)
            count = 2 if options.quick else options.images
            found, problems = judge(FinishedRun.read(run), manifest, count, pack, console)
        figures |= found
        missed += problems
    finish("explanations", figures, missed, quick=options.quick)


def manifest_of(pack: str, folder: Path) -> Path:
    """Write the manifest to train by; of ultrasound all patients who have a mask are for the test."""
    source = DATA / PACKS[pack]
    rows = rows_of(source / "manifest.csv")
    if pack == "ultrasound":
        rows = [row for row in rows if row["label_conflict"] != "1"]
        masks = {
            row["image"]: row["mask"]
            for row in rows_of(source / "manifest_masks.csv")
            if row["label"] != "normal"
        }
        shown = {row["patient"] for row in rows if row["image"] in masks}
        for row in rows:
            row["mask"] = masks.get(row["image"], "")
            row["split"] = "test" if row["patient"] in shown else "train"
    columns = ("site", "patient", "image", "mask", "label", "split")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            files = {name: str(source / row[name]) if row[name] else "" for name in ("image", "mask")}
            writer.writerow(row | files)
    return folder / "manifest.csv"


def train(pack: str, manifest: Path, out: Path, console: Console, *, quick: bool) -> Path:
    """Train a federation and return its folder."""
    job = shipped("skin-lesions") if pack == "skin" else ultrasound_job()
    return trained(job, Hospitals(data=manifest), out, console, quick=quick).path


def ultrasound_job() -> JobSpec:
    """Return a job for breast ultrasound; its test is chosen by no figure."""
    return make_job(
        job={"name": "ultrasound", "dataset": "ultrasound", "rounds": 20, "seed": 1},
        task_name="classification",
        task_classes=["normal", "benign", "malignant"],
        task_loss="balanced-softmax",
        model={"name": "cnn", "channels": [16, 32, 64, 128], "norm": "batch"},
        data={
            "channels": 1,
            "size": [96, 96],
            "intensity": "zscore",
            "augment": ["flip", "rotate90", "intensity"],
        },
        training={"local_epochs": 1, "batch_size": 16, "learning_rate": 2e-3, "schedule": "cosine"},
        strategy={"name": "fedavg", "min_sites": 3},
        evaluation={"select_best": "balanced_accuracy"},
    )


def judge(
    run: FinishedRun, manifest: Path, count: int, pack: str, console: Console
) -> tuple[dict[str, Any], list[str]]:
    """Explain images of a run's test; returns the figures by pack, and the claims that fail."""
    cases, others = cases_of(run.job, manifest, count)
    networks = {
        "trained": run.model(torch.device("cpu"), "best").eval(),
        "drawn": build_model(run.job, run.job.job.seed + 1, started=False).eval(),
    }
    figures, missed = {}, []
    for name in (pack, f"{pack}, moved") if pack == "skin" else (pack,):
        shown = [moved(case, number) for number, case in enumerate(cases)] if name != pack else cases
        found = measured(networks, shown, others, deeper=name == pack)
        figures[name] = {method: summary(own, found[CENTRE]) for method, own in found.items()}
        console.print(table_of(name, len(shown), figures[name]))
        missed += problems_of(name, figures[name], crowded=name == "skin")
    return figures, missed


def cases_of(job: JobSpec, manifest: Path, count: int) -> tuple[list[Case], Tensor]:
    """Return images of the test that have a mask, evenly spread, and images to compare with."""
    kinds = {"image": kinds_of(job)["image"]}
    records = [row for row in scan_manifest(manifest, ("image",), []).records if row.cells["mask"]]
    tested = [row for row in records if row.cells["split"] == "test"]
    cases = []
    for record in spread(tested, count):
        image = torch.from_numpy(prepare(record, kinds, job.data).values["image"])
        size = (image.shape[2], image.shape[1])
        mask = Image.open(record.cells["mask"]).convert("L").resize(size, Image.Resampling.NEAREST)
        cases.append(Case(image, np.asarray(mask) > 127))
    others = [prepare(row, kinds, job.data).values["image"] for row in spread(records[1::2], COMPARED)]
    return cases, torch.from_numpy(np.stack(others))


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """Return at most so many, evenly spread."""
    return [rows[place] for place in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def moved(case: Case, number: int) -> Case:
    """Return an image moved at random, its border repeated."""
    rng = np.random.default_rng((1, number))
    size = case.lesion.shape
    shift = [round(side * rng.uniform(-FARTHEST, FARTHEST)) for side in size]
    places = [np.clip(np.arange(side) - by, 0, side - 1) for side, by in zip(size, shift, strict=True)]
    there = [
        (np.arange(side) - by >= 0) & (np.arange(side) - by < side)
        for side, by in zip(size, shift, strict=True)
    ]
    image = case.image[:, places[0]][:, :, places[1]]
    return Case(image, case.lesion[np.ix_(*places)] & np.outer(*there))


def measured(
    networks: dict[str, nn.Module], cases: Sequence[Case], others: Tensor, *, deeper: bool
) -> Figures:
    """Return what is measured of each method and of the centre; deletion and drawn weights if asked for."""
    found: Figures = {name: {} for name in (*NAMES, CENTRE)}
    for case in cases:
        image = case.image[None]
        with torch.no_grad():
            chosen = int(networks["trained"](image).argmax())
        maps = {name: explained(networks["trained"], image, others, chosen, name) for name in NAMES}
        maps[CENTRE] = central(case.lesion.shape)
        for name, own in maps.items():
            add(found[name], "pointing", case.lesion.flat[own.argmax()])
            if deeper:
                add(found[name], "deletion", deleted(networks["trained"], image, chosen, own))
            if deeper and name != CENTRE:
                blind = explained(networks["drawn"], image, others, chosen, name)
                add(found[name], "drawn", spearmanr(np.abs(own).ravel(), np.abs(blind).ravel()).statistic)
    return found


def explained(
    network: nn.Module, image: Tensor, others: Tensor, chosen: int, name: str
) -> NDArray[np.float32]:
    """Return a method's map (*S) of the logit of a class."""
    with asked([network]):
        subject = Subject(lambda images: network(images)[:, chosen], image, others, [network], 1)
        return METHODS[name](subject).detach().numpy()


def central(size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a map (*S) that is highest at the centre."""
    axes = [np.abs(np.arange(side) - side // 2) / side for side in size]
    return -np.hypot(*np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def deleted(network: nn.Module, image: Tensor, chosen: int, values: NDArray[np.float32]) -> float:
    """Return the mean probability of a class while pixels become zero, the highest first."""
    order = np.argsort(-values.ravel(), kind="stable")
    images = image.repeat(STEPS + 1, 1, 1, 1).flatten(2)
    for step in range(STEPS + 1):
        images[step, :, order[: step * len(order) // STEPS]] = 0
    with torch.no_grad():
        logits = network(images.view(STEPS + 1, *image.shape[1:]))
    return float(np.trapezoid(functional.softmax(logits, dim=1)[:, chosen].numpy(), dx=1 / STEPS))


def add(figures: dict[str, list[float]], name: str, value: Any) -> None:
    """Add what was measured of an image."""
    figures.setdefault(name, []).append(float(np.nan_to_num(value)))


def summary(own: dict[str, list[float]], centre: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return each mean with its interval; those beside the centre's are differences, image by image."""
    found = {name: mean(values) for name, values in own.items()}
    for name in ("pointing", "deletion"):
        if name in own:
            found[f"{name} less centre's"] = mean(np.subtract(own[name], centre[name]))
    return found


def mean(values: Any) -> list[float]:
    """Return the mean and its interval of 95 %, by a bootstrap over images."""
    array = np.asarray(values, float)
    draws = np.random.default_rng(1).integers(0, len(array), (2000, len(array)))
    low, high = np.percentile(array[draws].mean(axis=1), (2.5, 97.5))
    return [round(float(number), 4) for number in (array.mean(), low, high)]


def problems_of(name: str, figures: dict[str, dict[str, list[float]]], *, crowded: bool) -> list[str]:
    """Return what is claimed and does not hold."""
    found = []
    if not crowded and max(figures[method]["pointing less centre's"][1] for method in NAMES) <= 0:
        found.append(f"{name}: no method points better than the centre")
    blind = {method: own["drawn"][0] for method, own in figures.items() if "drawn" in own}
    found += [
        f"{name}: {method} hardly changes with the weights ({own:.2f})"
        for method, own in blind.items()
        if own > 0.5
    ]
    return found


def table_of(name: str, count: int, figures: dict[str, dict[str, list[float]]]) -> Table:
    """Return a row for each method."""
    columns = list(dict.fromkeys(key for own in figures.values() for key in own))
    table = Table(title=f"{name}: {count} images; 95 % intervals")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    for method, own in figures.items():
        cells = ["–" if key not in own else "{:.3f} ({:.3f} to {:.3f})".format(*own[key]) for key in columns]
        table.add_row(method, *cells)
    return table


if __name__ == "__main__":
    main()
