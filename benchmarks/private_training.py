"""What private training costs: CPU time and memory of a round, beside plain training of the same images.

Each measurement has a process of its own, with one thread and the noise of a hospital. Every patient has one
image and all are drawn in each step, so that both trainings see the same images. The time is what the
processor worked, the shortest of some rounds: other work on the machine then hardly counts.
"""

import argparse
import resource
import time
import warnings
from dataclasses import dataclass
from typing import Any

from common import apart, conditions, finish, make_job
from rich.console import Console
from rich.table import Table

LIMIT = 0.4  # of the speed of plain training
HELD = ("cnn", "unet")  # the networks that are held to it


@dataclass(frozen=True)
class Case:
    """One network with the images that it trains on."""

    name: str
    task: str
    model: dict[str, Any]
    size: tuple[int, int]
    images: int


@dataclass(frozen=True)
class Cost:
    """What a round took."""

    milliseconds: float  # of the processor, an image
    mib: float  # by which the process grew, at its highest


FULL = (
    Case("cnn", "classification", {"name": "cnn", "channels": [16, 32, 64, 128]}, (64, 80), 32),
    Case("unet", "segmentation", {"name": "unet", "channels": [16, 32, 64, 128]}, (128, 128), 16),
    Case("resnet18", "classification", {"name": "resnet18"}, (64, 64), 16),
)
QUICK = (Case("unet", "segmentation", {"name": "unet", "channels": [8, 16]}, (16, 16), 8),)


def main() -> None:
    """Measure, print a table and the figures; exit with 1 where private training is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small network; held to no figure")
    quick = parser.parse_args().quick
    cases, rounds = (QUICK, 1) if quick else (FULL, 3)
    figures: dict[str, Any] = conditions()
    missed = []
    table = Table("network", "training", title="A round of local training on one core")
    for heading in ("ms an image", "speed", "MiB"):
        table.add_column(heading, justify="right")
    for case in cases:
        costs = {kind: apart(cost_of, case, kind, rounds) for kind in kinds_of(case)}
        for kind, cost in costs.items():
            speed = costs["plain"].milliseconds / cost.milliseconds
            table.add_row(case.name, kind, f"{cost.milliseconds:.2f}", f"{speed:.2f}", f"{cost.mib:.0f}")
            figures[f"{case.name}, {kind}"] = {
                "milliseconds_an_image": round(cost.milliseconds, 3),
                "speed": round(speed, 3),
                "mib": round(cost.mib, 1),
            }
        if case.name in HELD and figures[f"{case.name}, private"]["speed"] < LIMIT:
            missed.append(f"{case.name}: private training at less than {LIMIT} of the plain speed")
    Console().print(table)
    finish("private_training", figures, missed, quick=quick)


def kinds_of(case: Case) -> tuple[str, ...]:
    """Return how a case is trained; large networks also without ghost clipping, to see what it gains."""
    return ("plain", "private", "private, without ghost") if case.name == "resnet18" else ("plain", "private")


def cost_of(case: Case, kind: str, rounds: int) -> Cost:
    """Train for some rounds and return what the cheapest cost."""
    import torch  # noqa: PLC0415 (the process that prints needs none of it)

    from client.training.loop import LocalTraining  # noqa: PLC0415
    from client.training.private_loop import PrivateTraining  # noqa: PLC0415
    from shared.networks.build import build_model  # noqa: PLC0415
    from shared.tasks import make_task  # noqa: PLC0415

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    job = job_of(case, kind)
    task, samples = make_task(job), samples_of(case, job)
    model = build_model(job, seed=0).to(memory_format=torch.channels_last)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for round_ in range(1, rounds + 2):  # the first one warms up
        training_of = LocalTraining if kind == "plain" else PrivateTraining
        training = training_of(model, task, samples, job, site="here", device=torch.device("cpu"))
        start = time.process_time()
        training.run(round_)
        seconds.append(time.process_time() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # Linux counts in KiB
    return Cost(1000 * min(seconds[1:]) / (case.images * job.training.local_steps), grown / 2**10)


def job_of(case: Case, kind: str) -> Any:
    """Return the job of a case: two steps a round, each on all images."""
    several = kind.endswith("without ghost")  # images a patient: ghost clipping is for one alone
    promise = {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "images_per_patient": 2 if several else 1}
    return make_job(
        job={"name": "cost", "dataset": "none"},
        task_name=case.task,
        task_loss="cross-entropy",
        model=case.model,
        data={"channels": 3, "size": list(case.size)},
        training={"local_steps": 2, "batch_size": case.images},
        strategy={"name": "fedavg", "weight": "equal"},
        evaluation=None,
        privacy=None if kind == "plain" else promise,
    )


def samples_of(case: Case, job: Any) -> Any:
    """Return random images, one a patient."""
    import torch  # noqa: PLC0415

    from client.data.samples.batches import Samples  # noqa: PLC0415

    images = torch.randn(case.images, 3, *case.size, generator=torch.Generator().manual_seed(0))
    bright = images[:, 0] > 0
    targets = bright[:, 0, 0].long() if case.task == "classification" else bright.to(torch.uint8)
    names = [str(number) for number in range(case.images)]
    spacings = [None] * case.images
    columns = {"image": images, "label" if case.task == "classification" else "mask": targets}
    return Samples(job, columns, patients=names, keys=names, spacings=spacings)


if __name__ == "__main__":
    main()
