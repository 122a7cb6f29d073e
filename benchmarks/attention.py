"""Does attention lie where the tumour is, which nobody has shown to the model?

    python benchmarks/attention.py [phantom-slides] [brain-bags] [--seeds 1 2 3] [--quick]

Each run is the shipped job, federated. Of the test patients whose bag holds instances with a tumour (tiles of
which a quarter is tumour; slices whose mask is not empty): the share of the attention that these got, beside
their share of the instances, and the difference of the two with an interval by a bootstrap over patients.
"""

import argparse
import io
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from brains import PACK, Row, bags_of_brains
from common import PROJECT, are_there, conditions, finish, rows_of
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from client.predict.run_model import predict_with
from shared.job.schema import load_job
from simulate.session.session import Hospitals, execute, start

SHRUNK = 4  # how much smaller than its slide the mask of a synthetic tumour is
LEAST = 0.25  # of a tile that counts as tumour
DRAWS = 2000


def main() -> None:
    """Run the jobs asked for, print one table, and fail where attention lies elsewhere."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", choices=[*JOBS, []], help="both, if none is named")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="one seed, one round; no figure is held")
    options = parser.parse_args()
    figures: dict[str, Any] = {**conditions(), "skipped": []}
    missed: list[str] = []
    table = Table(title="on instances with a tumour, test patients of all hospitals")
    for column in (
        "job",
        "attention",
        "instances",
        "difference, 95 %",
        "bags",
        "balanced accuracy, each seed",
    ):
        table.add_column(column)
    for name in options.jobs or list(JOBS):
        if name == "brain-bags" and not are_there(PACK.name):
            figures["skipped"].append(name)
            continue
        row = measured(name, options.seeds[: 1 if options.quick else None], quick=options.quick)
        figures[name] = row
        low, high = row["interval"]
        table.add_row(
            name,
            f"{row['attention']:.3f}",
            f"{row['instances']:.3f}",
            f"{row['attention'] - row['instances']:+.3f} ({low:+.3f} to {high:+.3f})",
            str(row["bags"]),
            ", ".join(f"{one:.3f}" for one in row["balanced_accuracy"]),
        )
        if not low > 0:
            missed.append(f"{name}: attention on tumours is not above their share")
    Console().print(table)
    finish("attention", figures, missed, quick=options.quick)


def measured(name: str, seeds: list[int], *, quick: bool) -> dict[str, Any]:
    """Return the mean shares over patients and seeds, and the interval of their difference."""
    shares: dict[str, list[tuple[float, float]]] = defaultdict(list)
    accuracies = []
    for seed in seeds:
        job = load_job(
            PROJECT / "configs" / "jobs" / f"{name}.toml",
            {"job.seed": seed, **({"job.rounds": 1} if quick else {})},
        )
        with tempfile.TemporaryDirectory(prefix="wardround-attention-") as place:
            folder = Path(place)
            data = bags_of_brains(folder) if name == "brain-bags" else None
            run = start(job, Hospitals(data=data), folder / "runs", "cpu", baselines=False)
            execute(run, "in-process", Console(file=io.StringIO()))
            accuracies.append(run.read_description()["test"]["federation"]["balanced_accuracy"])
            manifest = data or next(folder.glob("runs/.phantoms/*/*/manifest.csv"))
            predict_with(run.path, manifest, folder / "said", device="cpu")
            found = shares_of(
                rows_of(folder / "said" / "attention.csv"), rows_of(manifest), JOBS[name](manifest)
            )
        for patient, pair in found.items():
            shares[patient if data else f"{patient} of {seed}"].append(pair)
        print(
            name, f"seed {seed}", np.mean(list(found.values()), axis=0).round(3), accuracies[-1], flush=True
        )
    pairs = np.array([np.mean(own, axis=0) for own in shares.values()])
    rng = np.random.default_rng(0)
    drawn = pairs[rng.integers(0, len(pairs), (DRAWS, len(pairs)))].mean(axis=1)
    low, high = np.percentile(drawn[:, 0] - drawn[:, 1], (2.5, 97.5))
    attention, instances = pairs.mean(axis=0)
    return {
        "seeds": seeds,
        "bags": len(pairs),
        "attention": round(float(attention), 4),
        "instances": round(float(instances), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "balanced_accuracy": [round(one, 4) for one in accuracies],
    }


def shares_of(
    said: list[Row], manifest: list[Row], is_tumour: Callable[[Row], bool]
) -> dict[str, tuple[float, float]]:
    """Return for each test patient with a tumour the share of the attention on it, and of the instances."""
    testing = {row["patient"] for row in manifest if row["split"] == "test"}
    by_bag: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in said:
        if row["patient"] in testing:
            by_bag[row["patient"], row["row"]].append(row)
    found = {}
    for (patient, _), own in by_bag.items():
        ill = np.array([is_tumour(row) for row in own])
        if ill.any() and not ill.all():
            attention = np.array([float(row["attention"]) for row in own])
            found[patient] = float(attention[ill].sum()), float(ill.mean())
    return found


def in_slides(manifest: Path) -> Callable[[Row], bool]:
    """Return what says whether a tile of a synthetic slide is of its tumour."""
    masks: dict[str, NDArray[np.uint8]] = {}
    for row in rows_of(manifest):
        with Image.open(manifest.parent / row["tumour"]) as mask:
            masks[row["patient"]] = np.asarray(mask)

    def is_tumour(row: Row) -> bool:
        left, top, width, height = (int(row[key]) // SHRUNK for key in ("x", "y", "width", "height"))
        part = masks[row["patient"]][top : top + height, left : left + width]
        return bool(part.mean() >= LEAST * 255)

    return is_tumour


def in_brains(_: Path) -> Callable[[Row], bool]:
    """Return what says whether a slice has a tumour, by the pack's own label."""
    ill = {Path(row["image"]).name for row in rows_of(PACK / "manifest.csv") if row["label"] == "1"}
    return lambda row: Path(row["file"]).name in ill


JOBS = {"phantom-slides": in_slides, "brain-bags": in_brains}


if __name__ == "__main__":
    main()
