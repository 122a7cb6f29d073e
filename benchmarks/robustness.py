"""What attacks do to a model, what training against them mends, and whether another modality is noticed.

    python benchmarks/robustness.py [--seeds 1 2 3] [--quick]

The shipped job `skin-lesions` (30 rounds, four sources), as it is and with `[training.adversarial]`.
On the test patients of all sites: accuracy, and accuracy under PGD (10 steps, epsilon 0.1 of an image's
deviation). The drop is the difference. Then `wardround predict` says how unusual breast ultrasound is to the
plain model, beside the skin of the test: AUROC of the distance and of the energy.
Claimed, of the means over the seeds: training against attacks halves the drop; the distance tells ultrasound
from skin with an AUROC above 0.9.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, rows_of, shipped
from on_packs import Figures, of_seeds, trained
from PIL import Image
from rich.console import Console
from scipy.stats import rankdata

from client.predict.run_model import predict_with
from shared.job.schema import JobSpec
from simulate.session.session import Hospitals

SKIN, OTHER = "skin_ham_4sites", "ultrasound_busi"
EPSILON, STEPS = 0.1, 10
METRICS = [
    {"name": "robust_accuracy", "epsilon": EPSILON, "steps": STEPS},
    {"name": "feature_moments"},
]
AGAINST = {"epsilon": EPSILON, "steps": 3}
SHOWN = 150  # images of each kind that are looked at


def main() -> None:
    """Train, attack, predict; print the table and the figures, and fail where a claim does."""
    of_seeds("robustness", __doc__, (SKIN, OTHER), of_seed, missed=missed)


def of_seed(seed: int, asked: argparse.Namespace, console: Console) -> dict[str, float]:
    """Return the figures of a plain and a hardened model, and how well another modality is noticed."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="wardround-robustness-") as folder:
        for name in ("plain", "hardened"):
            job = job_of(seed, hardened=name == "hardened")
            run = trained(job, Hospitals(data=DATA / SKIN), Path(folder) / name, console, quick=asked.quick)
            figures = run.read_description()["test"]["federation"]
            clean, robust = figures["accuracy"], figures["robust_accuracy"]
            found |= {f"{name}, accuracy": clean, f"{name}, attacked": robust}
            found |= {f"{name}, drop": clean - robust}
            found[f"{name}, balanced accuracy"] = figures["balanced_accuracy"]
            if name == "plain":
                found |= noticed(run.path, Path(folder), 4 if asked.quick else SHOWN)
    return found


def job_of(seed: int, *, hardened: bool) -> JobSpec:
    """Return the shipped job with what is measured here."""
    changes: dict[str, Any] = {"job.seed": seed, "evaluation.metrics": METRICS}
    if hardened:
        changes["training.adversarial"] = AGAINST
    return shipped("skin-lesions", changes)


def noticed(run: Path, folder: Path, count: int) -> dict[str, float]:
    """Return how well a model tells skin that it was not trained on from ultrasound."""
    usual, other = (says(run, manifest, folder) for manifest in (skin(folder, count), sound(folder, count)))
    scores = {
        "distance": np.array([row["distance"] for row in (*usual, *other)], float),
        "energy": -np.array([row["energy"] for row in (*usual, *other)], float),
    }
    return {
        **{f"AUROC, {name}": auroc(own, len(usual)) for name, own in scores.items()},
        "skin called unusual": float(np.mean([row["unusual"] == "yes" for row in usual])),
        "ultrasound called unusual": float(np.mean([row["unusual"] == "yes" for row in other])),
    }


def auroc(scores: np.ndarray, usual: int) -> float:
    """Return the area under the ROC curve, of which the first `usual` are the negatives."""
    ranks, others = rankdata(scores)[usual:], len(scores) - usual
    return float((ranks.sum() - others * (others + 1) / 2) / (usual * others))


def says(run: Path, manifest: Path, folder: Path) -> list[dict[str, str]]:
    """Return what a model says of a manifest's images."""
    out = folder / f"said-{manifest.stem}"
    predict_with(run, manifest, out, device="cpu")
    return rows_of(out / "predictions.csv")


def skin(folder: Path, count: int) -> Path:
    """Write the manifest of images of the test."""
    rows = [row for row in rows_of(DATA / SKIN / "manifest.csv") if row["split"] == "test"]
    return manifest_of(folder / "skin.csv", [DATA / SKIN / row["image"] for row in evenly(rows, count)])


def sound(folder: Path, count: int) -> Path:
    """Write ultrasounds as colour pictures, and their manifest."""
    rows = evenly(rows_of(DATA / OTHER / "manifest.csv"), count)
    (folder / "sound").mkdir()
    files = []
    for row in rows:
        files.append(folder / "sound" / f"{Path(row['image']).stem}.png")
        Image.open(DATA / OTHER / row["image"]).convert("RGB").save(files[-1])
    return manifest_of(folder / "sound.csv", files)


def evenly(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """Return at most so many rows, evenly spread."""
    return [rows[place] for place in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]


def manifest_of(path: Path, files: list[Path]) -> Path:
    """Write a manifest of images."""
    lines = ["patient,image", *(f"{number},{file.resolve()}" for number, file in enumerate(files))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def missed(figures: Figures) -> list[str]:
    """Return what is claimed and does not hold."""
    mean = {name: float(np.mean(values)) for name, values in figures.items()}
    found = []
    if mean["hardened, drop"] > mean["plain, drop"] / 2:
        found.append("training against attacks does not halve the drop")
    if mean["AUROC, distance"] <= 0.9:
        found.append("ultrasound is not told from skin")
    return found


if __name__ == "__main__":
    main()
