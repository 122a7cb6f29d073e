"""What each network costs and reaches: numbers, bytes of an update, seconds of a step, and a result.

    python benchmarks/networks.py [NAME ...] [--rounds 6] [--seed 1] [--quick]

Each network that sees pictures has its default options. A step is of 8 pictures of 64 pixels along each axis
of one channel (or three), on one core. The result is that of `wardround simulate` at four synthetic sites:
tumours in brain slices, or of networks that give a vector kinds of skin lesions. All take as many rounds and
steps, whatever these cost, at one learning rate. `--quick` has two networks and no result: no figure is held.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import MB, conditions, finish, make_job
from rich.console import Console
from rich.table import Table

from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.networks.build import build_model
from shared.tasks import make_task
from shared.wire.packed_model import Layout
from simulate.data.anatomy import LESIONS
from simulate.session.session import Hospitals, execute, start
from tests.jobs import IMAGE_NETWORKS, TASK_OF

PIXELS, IMAGES, STEPS = 64, 8, 5
SCORE = {"segmentation": "dice_global", "classification": "auroc"}
CLASSES = {"segmentation": ["tumour"], "classification": list(LESIONS)}
DATASET = {"segmentation": "phantom-brain", "classification": "phantom-lesions"}
CHANNELS = {"segmentation": 1, "classification": 3}
LOSS = {"segmentation": "dice-ce", "classification": "cross-entropy"}


@dataclass(frozen=True)
class Measured:
    """What is known of a network.

    Attributes:
        task: That it was measured with.
        numbers: That travel.
        seconds: Of a step of training, the fastest of several.
        private: Whether it can be trained with differential privacy.
        score: Of the test patients of all sites together; None where it was not trained.
    """

    task: str
    numbers: int
    seconds: float
    private: bool
    score: float | None


def main() -> None:
    """Measure each network and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="Networks; without any all that see pictures.")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="seconds; held to no figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.names or (["cnn", "two-paths"] if options.quick else IMAGE_NETWORKS)
    figures: dict[str, Any] = conditions() | {"rounds": options.rounds, "seed": options.seed}
    found = {}
    for name in names:
        found[name] = measured(name, 0 if options.quick else options.rounds, options.seed)
        print(name, found[name], flush=True)
    show(found, figures)
    finish("networks", figures, [], quick=options.quick)


def job_of(name: str, rounds: int, seed: int) -> JobSpec:
    """Return a job on synthetic brains or skin, with pictures of 64 pixels."""
    task = TASK_OF[NETWORKS[name].gives]
    return make_job(
        task_name=task,
        job={"name": "networks", "dataset": DATASET[task], "rounds": max(rounds, 1), "seed": seed},
        task_classes=CLASSES[task],
        task_loss=LOSS[task],
        model={"name": name},
        evaluation=None,
        data={
            "size": [PIXELS] * 2,
            "intensity": "zscore",
            "augment": ["flip"],
            "channels": CHANNELS[task],
        },
        training={"local_epochs": 1, "batch_size": IMAGES, "learning_rate": 2e-3, "schedule": "cosine"},
        strategy={"name": "fedavg"},
    )


def measured(name: str, rounds: int, seed: int) -> Measured:
    """Measure one network, and train it where there are rounds."""
    job = job_of(name, rounds, seed)
    model = build_model(job)
    score = trained(job) if rounds else None
    private = NETWORKS[name].obstacle is None
    return Measured(job.task.name, Layout.of(model).size, step_seconds(job, model), private, score)


def step_seconds(job: JobSpec, model: torch.nn.Module) -> float:
    """Return the seconds of the fastest of several steps."""
    task = make_task(job)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, job.data.channels, PIXELS, PIXELS, generator=draw)
    shape = [IMAGES, PIXELS, PIXELS] if job.task.name == "segmentation" else [IMAGES]
    targets = torch.randint(0, 2, shape, generator=draw)
    batch = Batch({task.input: images, task.target: targets}, [str(number) for number in range(IMAGES)])
    [phase], optimizer = task.phases(), torch.optim.AdamW(model.parameters())
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        phase.loss({"model": model}, batch).mean().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def trained(job: JobSpec) -> float:
    """Return the score of a simulation at four synthetic hospitals."""
    with tempfile.TemporaryDirectory(prefix="wardround-networks-") as folder:
        done = start(job, Hospitals(), Path(folder), "cpu", baselines=False)
        execute(done, "in-process", Console(quiet=True))
        score: float = done.read_description()["test"]["federation"][SCORE[job.task.name]]
    return score


def show(found: dict[str, Measured], figures: dict[str, Any]) -> None:
    """Print the table, and add its figures."""
    table = Table(title=f"{IMAGES} pictures of {PIXELS} x {PIXELS}, one core")
    for column in ("network", "task", "parameters (10^6)", "update (MB)", "step (s)", "private", "score"):
        table.add_column(column, justify="left" if column in ("network", "task") else "right")
    for name, one in sorted(found.items(), key=lambda item: (item[1].task, item[1].numbers)):
        private = "yes" if one.private else "no"
        score = "-" if one.score is None else f"{one.score:.3f}"
        sizes = f"{one.numbers / 1e6:.2f}", f"{4 * one.numbers / MB:.1f}"
        table.add_row(name, one.task, *sizes, f"{one.seconds:.3f}", private, score)
        figures[name] = {
            "parameters": one.numbers,
            "seconds_per_step": one.seconds,
            "private": one.private,
            "score": one.score,
        }
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
