"""Is a channel that was made as good as the one that was taken? A segmenter looks at both.

    python benchmarks/synthetic_channel.py [--segmenter RUN] [--synthesis RUN] [--quick]

A model of brain-lgg looks for tumours in brain slices: with the channel after contrast as it was taken, with
the one that a model of brain-synthesis makes of the others, and with FLAIR in its place. These are the test
slices of all sites, but for those that lack the channel. With the synthetic one the global Dice must be 0.9
of that with the real one. Runs are made by the shipped jobs unless finished ones are named.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from common import DATA, conditions, finish, need, shipped
from rich.console import Console
from rich.table import Table
from science import shortened
from torch import Tensor

from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import Samples, SiteData
from client.predict.answering import Predictor
from client.work.warm_networks import EVALUATION_BATCH
from shared.finished_run import FinishedRun
from shared.tasks.segmentation.metrics import count_voxels, dice
from simulate.session.session import Hospitals, execute, start

PACK, SEGMENTER, SYNTHESIS = "brain_lgg_5sites_2d", "brain-lgg", "brain-synthesis"
LEAST = 0.9
MADE, FLAIR = 2, 1  # channels


def main() -> None:
    """Train what is missing, print the table and the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segmenter", type=Path, help="folder of a finished run of brain-lgg")
    parser.add_argument("--synthesis", type=Path, help="folder of a finished run of brain-synthesis")
    parser.add_argument("--quick", action="store_true", help="one round of two steps; no figure is held")
    options = parser.parse_args()
    need("synthetic_channel", PACK, quick=options.quick)
    with tempfile.TemporaryDirectory(prefix="wardround-synthetic-") as out:
        runs = {SEGMENTER: options.segmenter, SYNTHESIS: options.synthesis}
        trained = {
            name: Predictor.of(
                FinishedRun.read(run or train(name, Path(out), quick=options.quick)),
                "best",
                torch.device("cpu"),
            )
            for name, run in runs.items()
        }
    found = judged(trained[SEGMENTER], trained[SYNTHESIS])
    table = Table(title="global Dice of the segmenter, by its third channel")
    for column in found:
        table.add_column(column, justify="right")
    table.add_row(*(f"{value:.3f}" for value in found.values()))
    Console().print(table)
    share = found["made"] / found["taken"]
    missed = [] if share >= LEAST else [f"with the synthetic channel: {share:.3f} of the Dice, not {LEAST}"]
    finish("synthetic_channel", {**conditions(), **found, "share": share}, missed, quick=options.quick)


def train(name: str, out: Path, *, quick: bool) -> Path:
    """Simulate a shipped job and return the folder of its run."""
    job = shipped(name, {})
    run = start(shortened(job) if quick else job, Hospitals(data=DATA / PACK), out, "cpu", baselines=False)
    execute(run, "in-process", Console())
    return run.path


def judged(segmenter: Predictor, synthesis: Predictor) -> dict[str, float]:
    """Return the global Dice with each third channel, over the test slices of all sites that have it."""
    slices, pairs = (tested(predictor) for predictor in (segmenter, synthesis))
    counts: Mapping[str, list[Tensor]] = {"taken": [], "made": [], "FLAIR": []}
    for indices in slices.batches(EVALUATION_BATCH):
        batch, seen = slices.batch(indices), pairs.batch(indices)
        made = synthesis.task.predict(synthesis.models, seen)["image"]
        true = seen["image"][:, MADE]
        there = (true != seen["image"][:, FLAIR]).flatten(1).any(1)
        image = batch["image"]
        channels = {"taken": image[:, MADE], "made": scaled(made[:, 0]), "FLAIR": image[:, FLAIR]}
        for name, channel in channels.items():
            changed = image.clone()
            changed[:, MADE] = channel
            logits = segmenter.task.predict(segmenter.models, batch.plus(image=changed))["logits"]
            counts[name].append(count_voxels(logits.argmax(1), batch["mask"], 2)[there])
    return {name: float(dice(torch.cat(own).sum(0, keepdim=True))) for name, own in counts.items()}


def tested(predictor: Predictor) -> Samples:
    """Return the test slices of all sites, prepared for a job."""
    split: Any = Split(CohortKey.drawn(predictor.job.job.seed), SplitTable())
    return SiteData.load(DATA / PACK, predictor.job, site="all", split=split).split("test")


def scaled(images: Tensor) -> Tensor:
    """Return images (B, H, W) with mean 0 and deviation 1 each, as brain-lgg prepares them."""
    mean, deviation = images.mean((1, 2), keepdim=True), images.std((1, 2), keepdim=True, correction=0)
    return (images - mean) / deviation.clamp(min=1e-6)


if __name__ == "__main__":
    main()
