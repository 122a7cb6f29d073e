"""Do images without labels help? The labelled part alone, beside it the rest without labels, and all labels.

    python benchmarks/few_labels.py [STUDY ...] [--seeds 1 2 3] [--shares 0.2 ...] [--set KEY=VALUE ...]
        [--quick]

All three are simulations of one shipped job and take the same number of optimiser steps. Each seed draws
other labelled patients; those of a smaller share are among those of a larger. A gain is paired: its
interval within a seed is over the test patients of all sites (bootstrap), that of the mean over the seeds
(Student's t). Brain slices have 64 x 64 pixels here, a quarter of the job's work;
`--set 'data.size=[128, 128]'` is the job as shipped.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, are_there, shipped
from numpy.typing import NDArray
from on_packs import Figures, changes_of, gained, of_seeds, resampled, settable, trained
from rich.console import Console

from client.data.manifest.splits import SplitTable
from shared.job.schema import JobSpec
from simulate.session.session import Hospitals

ALONE, BOTH, ALL = "labelled alone", "with unlabelled", "all labels"


@dataclass(frozen=True)
class Study:
    """A shipped job.

    Attributes:
        pack: The folder of its data.
        metric: That is compared; more is better.
        shares: Of the training patients, whose labels are used.
        least_gain: By how much unlabelled images must help, in the mean over seeds and at every share.
        smaller: Keys of the job with other values, for less work.
    """

    pack: str
    metric: str
    shares: tuple[float, ...]
    least_gain: float
    smaller: Mapping[str, Any] = field(default_factory=dict)


STUDIES = {
    "brain-few-labels": Study("brain_lgg_5sites_2d", "dice_global", (0.2,), 0.03, {"data.size": [64, 64]}),
    "skin-few-labels": Study("skin_ham_4sites", "balanced_accuracy", (0.05, 0.1, 0.25), 0.0),
}


def main() -> None:
    """Run the studies asked for, print one table, and fail where a figure is missed."""
    of_seeds("few_labels", __doc__, (), of_seed, missed=missed, add_options=add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let studies, shares and keys of the job be chosen."""
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], help="all of them, if none is named")
    parser.add_argument("--shares", nargs="+", type=float, help="in place of the study's")
    settable(parser)


def of_seed(seed: int, asked: argparse.Namespace, console: Console) -> dict[str, float]:
    """Return the figures of the studies whose packs are there."""
    found: dict[str, float] = {}
    for name in asked.studies or STUDIES:
        if not are_there(STUDIES[name].pack):
            continue
        shares = asked.shares or STUDIES[name].shares
        for share in shares[: 1 if asked.quick else None]:
            reached = {}
            for how in (ALONE, BOTH, ALL):
                job = job_of(name, seed, how, asked.set)
                labelled = 1.0 if how == ALL else share
                reached[how] = reaches(STUDIES[name], job, labelled, console, quick=asked.quick)
            title = f"{name} {share:g}"
            found |= {f"{title}, {how}": float(reached[how][0]) for how in (ALONE, ALL)}
            found |= gained(f"{title}, {BOTH}", reached[BOTH], reached[ALONE])
    return found


def reaches(
    study: Study, job: JobSpec, labelled: float, console: Console, *, quick: bool
) -> NDArray[np.float64]:
    """Return a study's metric with labels of a share of the patients, see `resampled`."""
    hospitals = Hospitals(data=DATA / study.pack, shares=SplitTable(labelled=labelled))
    with tempfile.TemporaryDirectory(prefix="wardround-few-labels-") as out:
        return resampled(trained(job, hospitals, Path(out), console, quick=quick), job)[study.metric]


def job_of(name: str, seed: int, how: str, settings: list[str]) -> JobSpec:
    """Return the shipped job, of those without unlabelled images one that leaves them out."""
    changes: dict[str, Any] = {"job.seed": seed, **STUDIES[name].smaller, **changes_of(settings)}
    if how != BOTH:
        changes = {key: value for key, value in changes.items() if not key.startswith("task.unlabelled.")}
        changes["task.unlabelled"] = {"method": "leave-out"}
    return shipped(name, changes)


def missed(figures: Figures) -> list[str]:
    """Return at which shares unlabelled images help less than they must."""
    found = []
    for name, gains in figures.items():
        least = STUDIES[name.split()[0]].least_gain
        if name.endswith(", gain") and not np.mean(gains) >= least:
            found.append(f"{name}: {np.mean(gains):.3f}, not {least}")
    return found


if __name__ == "__main__":
    main()
