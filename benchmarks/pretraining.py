"""Do images without labels give a better start? A classifier that begins with their encoder, or does not.

    python benchmarks/pretraining.py [--seeds 1 2 3] [--share 0.1] [--method simclr barlow-twins] [--quick]

configs/jobs/skin-pretrain.toml learns from all training images; skin-few-labels.toml, without what has no
label, starts from its encoder or from drawn weights. Differences are paired over the test patients of all
sites (bootstrap).
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import conditions, finish
from few_labels import metrics_of, over_seeds
from rich.console import Console
from rich.table import Table

from client.data.manifest.splits import SplitTable
from shared.job.schema import load_job
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of, match
from shared.start_files import weights_in, write_start
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).parents[1]
DATA = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data")) / "skin_ham_4sites"
JOBS = PROJECT / "configs" / "jobs"
METRIC = "balanced_accuracy"
DRAWN = "drawn weights"


def main() -> None:
    """Run all, print one table, and fail where a start is not better in every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--share", type=float, default=0.1, help="of the patients whose labels are used")
    parser.add_argument("--method", nargs="+", default=["simclr"], choices=["simclr", "barlow-twins"])
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a round of two steps; held to no figure"
    )
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there; set WARDROUND_DATA")
    found = {seed: of_seed(seed, options) for seed in options.seeds[: 1 if options.quick else None]}
    table = Table(title=f"{METRIC} with labels of {options.share:.0%} of the patients")
    for column in ("seed", DRAWN, *options.method):
        table.add_column(column)
    for seed, row in found.items():
        cells = [f"{row[how]['value']:.3f} ({row[how]['gain']:+.3f})" for how in options.method]
        table.add_row(str(seed), f"{row[DRAWN]:.3f}", *cells)
    Console().print(table)
    gains = {how: [row[how]["gain"] for row in found.values()] for how in options.method}
    missed = [
        f"{how}: not above drawn weights in every seed: {own}" for how, own in gains.items() if min(own) <= 0
    ]
    told = {how: over_seeds(own) for how, own in gains.items()}
    finish("pretraining", {**conditions(), "seeds": found, "gains": told}, missed, quick=options.quick)


def of_seed(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a classifier reaches from drawn weights, and from those that each method has learnt."""
    short = {"job.rounds": 1, "training.local_steps": 2} if options.quick else {}
    leave_out = {"job.seed": seed, "task.unlabelled": {"method": "leave-out"}, **short}
    with tempfile.TemporaryDirectory(prefix="wardround-pretraining-") as place:
        folder = Path(place)
        drawn = classified(leave_out, options.share, folder)
        told: dict[str, Any] = {DRAWN: round(float(drawn[0]), 4)}
        for how in options.method:
            keys = learnt({"job.seed": seed, "task.method": how, **short}, leave_out, how, folder)
            gain = (after := classified({**leave_out, **keys}, options.share, folder)) - drawn
            low, high = np.nanpercentile(gain[1:], (2.5, 97.5))
            told[how] = {
                "value": round(float(after[0]), 4),
                "gain": round(float(gain[0]), 4),
                "interval": [round(float(low), 4), round(float(high), 4)],
            }
    return told


def learnt(changes: dict[str, Any], classifier: dict[str, Any], how: str, folder: Path) -> dict[str, Any]:
    """Learn from images alone, write what a classifier starts from, and return the keys for its job."""
    job = load_job(JOBS / "skin-pretrain.toml", changes)
    run = start(job, Hospitals(data=DATA), folder / "runs", "auto", baselines=False)
    execute(run, str(len(os.sched_getaffinity(0))), Console())
    name = how.replace("-", "")
    network = build_model(load_job(JOBS / "skin-few-labels.toml", classifier))
    found = match(network, weights_in(run.path))
    write_start(folder / f"{name}.safetensors", found.taken)
    keys = {"start": name, "start_sha256": digest_of(found.taken), "fresh": found.fresh}
    return {f"model.{key}": value for key, value in keys.items()}


def classified(changes: dict[str, Any], share: float, folder: Path) -> Any:
    """Return the metric of a classifier on the test patients, and as often as they are drawn anew."""
    job = load_job(JOBS / "skin-few-labels.toml", changes)
    hospitals = Hospitals(data=DATA, shares=SplitTable(labelled=share), starts=folder)
    run = start(job, hospitals, folder / "runs", "auto", baselines=False)
    execute(run, str(len(os.sched_getaffinity(0))), Console())
    return metrics_of(run, job)[METRIC]


if __name__ == "__main__":
    main()
