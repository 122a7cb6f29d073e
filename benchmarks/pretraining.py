"""Do images without labels give a better start? A classifier that begins with their encoder, or does not.

    python benchmarks/pretraining.py [--seeds 1 2 3] [--share 0.1] [--method simclr barlow-twins] [--quick]

configs/jobs/skin-pretrain.toml learns from all training images; skin-few-labels.toml, without what has no
label, starts from its encoder or from drawn weights. A gain is paired: its interval within a seed is over the
test patients of all sites (bootstrap). Claimed: a gain in every seed.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, shipped
from numpy.typing import NDArray
from on_packs import Figures, gained, of_seeds, resampled, trained
from rich.console import Console

from client.data.manifest.splits import SplitTable
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of, match
from shared.start_files import weights_in, write_start
from simulate.session.session import Hospitals

PACK, METRIC = "skin_ham_4sites", "balanced_accuracy"
CLASSIFIER = "skin-few-labels"
DRAWN = "drawn weights"


def main() -> None:
    """Run all, print one table, and fail where a start is not better in every seed."""
    of_seeds("pretraining", __doc__, (PACK,), of_seed, missed=missed, add_options=add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the labels and the ways to learn without them be chosen."""
    parser.add_argument("--share", type=float, default=0.1, help="of the patients whose labels are used")
    parser.add_argument("--method", nargs="+", default=["simclr"], choices=["simclr", "barlow-twins"])


def of_seed(seed: int, asked: argparse.Namespace, console: Console) -> dict[str, float]:
    """Return what a classifier reaches from drawn weights, and from those that each method has learnt."""
    with tempfile.TemporaryDirectory(prefix="wardround-pretraining-") as place:
        folder = Path(place)
        drawn = classified(seed, {}, folder, asked, console)
        found = {DRAWN: float(drawn[0])}
        for method in asked.method:
            learnt = start_of(seed, method, folder, console, quick=asked.quick)
            found |= gained(method, classified(seed, learnt, folder, asked, console), drawn)
    return found


def start_of(seed: int, method: str, folder: Path, console: Console, *, quick: bool) -> dict[str, Any]:
    """Learn from images alone, write what a classifier starts from, and return the keys for its job."""
    job = shipped("skin-pretrain", {"job.seed": seed, "task.method": method})
    run = trained(job, Hospitals(data=DATA / PACK), folder / "runs", console, quick=quick)
    found = match(build_model(shipped(CLASSIFIER)), weights_in(run.path))
    name = method.replace("-", "")
    write_start(folder / f"{name}.safetensors", found.taken)
    keys = {"start": name, "start_sha256": digest_of(found.taken), "fresh": found.fresh}
    return {f"model.{key}": value for key, value in keys.items()}


def classified(
    seed: int, start: dict[str, Any], folder: Path, asked: argparse.Namespace, console: Console
) -> NDArray[np.float64]:
    """Return the metric of a classifier with labels of a share of the patients, see `resampled`."""
    changes = {"job.seed": seed, "task.unlabelled": {"method": "leave-out"}, **start}
    job = shipped(CLASSIFIER, changes)
    hospitals = Hospitals(data=DATA / PACK, shares=SplitTable(labelled=asked.share), starts=folder)
    run = trained(job, hospitals, folder / "runs", console, quick=asked.quick)
    return resampled(run, job)[METRIC]


def missed(figures: Figures) -> list[str]:
    """Return which starts are not better in every seed."""
    gains = {name: own for name, own in figures.items() if name.endswith(", gain")}
    return [f"{name}: not above {DRAWN} in every seed: {own}" for name, own in gains.items() if min(own) <= 0]


if __name__ == "__main__":
    main()
