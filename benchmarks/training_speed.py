"""A step of training beside a plain MONAI loop: float32, bfloat16, compiled, both; what they do to the Dice.

    python benchmarks/training_speed.py [--metrics] [--quick]

Each contestant is a process of its own that trains the network of a shipped job on images in memory, warm, on
one thread, and they take turns of a few steps: the figure is a turn's seconds over those of the plain loop
in the same turn, the median of all turns. `--metrics` also trains the quickstart job for three seeds with
float32 and with the best setting. `--quick` is a turn of one job, of small images: held to no figure.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean, median
from typing import Any

from common import conditions, finish, shipped
from rich.console import Console
from rich.table import Table

from client.workers.pool import worker_environment
from shared.job.schema import JobSpec

JOBS = ("brain-lgg", "quickstart")
PLAIN = "plain MONAI loop"
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"training.precision": "bfloat16"},
    "compiled": {"training.compile": True},
    "bfloat16, compiled": {"training.precision": "bfloat16", "training.compile": True},
}
BEST = "bfloat16, compiled"
LIMIT = 0.70  # of the plain loop's time, with the best setting
NOISE = 0.03  # of the mean Dice over the seeds
IMAGES = 64
WARM = 3  # turns in which memory is taken, and kernels are made


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    jobs: tuple[str, ...]
    turns: int
    steps: int  # of a turn
    size: int | None  # pixels along an axis; None: the job's


FULL, QUICK = Plan(JOBS, turns=40, steps=5, size=None), Plan(JOBS[1:], turns=1, steps=1, size=32)


def main() -> None:
    """Measure, print the tables and the figures; exit with 1 where one was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metrics", action="store_true", help="also the Dice over three seeds, in minutes")
    parser.add_argument("--quick", action="store_true", help="a short run, held to no figure")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    settings = {name: SETTINGS[name] for name in (("float32",) if options.quick else usable())}
    figures: dict[str, Any] = conditions()
    missed: list[str] = []
    for name in plan.jobs:
        shares = measure(name, settings, plan)
        figures[name] = {kind: round(share, 3) for kind, share in shares.items()}
        best = min(shares.values())
        if best > LIMIT:
            missed.append(f"{name}: {best:.2f} of the plain loop's time instead of {LIMIT}")
    Console().print(table_of(figures))
    if options.metrics:
        figures["dice"] = dice(Console())
        if abs(mean(figures["dice"][BEST]) - mean(figures["dice"]["float32"])) > NOISE:
            missed.append(f"the Dice differs by more than {NOISE}")
    finish("training_speed", figures, missed, quick=options.quick)


def usable() -> list[str]:
    """Return the settings that this machine has."""
    import torch  # noqa: PLC0415 (with contestants of their own, this process needs it for nothing else)

    from client.training.device import half_precisions  # noqa: PLC0415

    half = half_precisions(torch.device("cpu"))
    return [name for name, changes in SETTINGS.items() if half or "training.precision" not in changes]


def measure(name: str, settings: dict[str, dict[str, Any]], plan: Plan) -> dict[str, float]:
    """Let a plain loop and each setting take turns; return the shares of the plain loop's time."""
    length: dict[str, Any] = {"training.local_epochs": None, "training.local_steps": plan.steps}
    if plan.size is not None:
        length["data.size"] = [plan.size] * 2
    contestants = {PLAIN: Contestant(job_of(name, length), plain_turn)}
    for kind, changes in settings.items():
        with worker_memory():
            contestants[kind] = Contestant(job_of(name, length | changes), our_turn)
    taken: dict[str, list[float]] = {kind: [] for kind in contestants}
    for contestant in contestants.values():
        for _ in range(WARM):
            contestant.seconds()
    for _ in range(plan.turns):
        for kind, contestant in contestants.items():
            taken[kind].append(contestant.seconds())
    for contestant in contestants.values():
        contestant.close()
    plain = taken[PLAIN]
    return {
        kind: median(own / other for own, other in zip(taken[kind], plain, strict=True)) for kind in settings
    }


def job_of(name: str, changes: dict[str, Any]) -> JobSpec:
    """Return a shipped job with some keys changed."""
    return shipped(name, changes)


@contextmanager
def worker_memory() -> Iterator[None]:
    """Start processes as Wardround starts its workers; the plain loop has what the shell gives it."""
    before = dict(os.environ)
    os.environ.update(worker_environment(1))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Contestant:
    """A process that trains when it is its turn."""

    def __init__(self, job: JobSpec, make: Callable[[JobSpec], Callable[[], object]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=take_turns, args=(theirs, job.canonical(), make))
        self._process.start()
        theirs.close()

    def seconds(self) -> float:
        """Let it have a turn; return how long that took."""
        self._pipe.send(True)
        taken: float = self._pipe.recv()
        return taken

    def close(self) -> None:
        """End the process."""
        self._pipe.send(False)
        self._process.join()


# What follows runs in the contestants' processes; only there is PyTorch needed.


def take_turns(pipe: Connection, canonical: str, make: Callable[[JobSpec], Callable[[], object]]) -> None:
    """Train for a turn whenever one is asked for, and answer with the seconds."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    turn = make(JobSpec.model_validate_json(canonical))
    while pipe.recv():
        begun = time.perf_counter()
        turn()
        pipe.send(time.perf_counter() - begun)


def samples_of(job: JobSpec) -> Any:
    """Return noisy images with a bright disc each, in memory."""
    import torch  # noqa: PLC0415

    from client.data.samples.batches import Samples  # noqa: PLC0415

    generator = torch.Generator().manual_seed(0)
    size = job.data.size or []
    y, x = torch.meshgrid(*(torch.arange(length) for length in size), indexing="ij")
    middle = size[0] / 2
    masks = torch.stack(
        [(y - middle) ** 2 + (x - middle - n % 9) ** 2 < middle**2 / 4 for n in range(IMAGES)]
    )
    images = torch.randn(IMAGES, job.data.channels, *size, generator=generator) + 2 * masks[:, None]
    names = [str(number) for number in range(IMAGES)]
    columns = {"image": images, "mask": masks.to(torch.uint8)}
    return Samples(job, columns, patients=names, keys=names, spacings=[None] * IMAGES)


def plain_turn(job: JobSpec) -> Callable[[], object]:
    """Return steps as most write them: MONAI's network and loss, PyTorch's Adam, images as they are."""
    import torch  # noqa: PLC0415
    from monai.losses import DiceCELoss  # noqa: PLC0415

    from shared.networks.build import build_model  # noqa: PLC0415

    network, samples = build_model(job).train(), samples_of(job)  # of MONAI's layers alone
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    over_batch = job.task.loss.startswith("batch")  # type: ignore[attr-defined]
    criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=over_batch)

    def turn() -> None:
        for _ in range(job.training.local_steps or 0):
            chosen = torch.randint(IMAGES, (job.training.batch_size,))
            images, masks = samples.columns["image"][chosen], samples.columns["mask"][chosen]
            optimizer.zero_grad()
            loss = criterion(network(images), masks[:, None])
            loss.backward()
            optimizer.step()
            loss.item()

    return turn


def our_turn(job: JobSpec) -> Callable[[], object]:
    """Return a round of a site's training, with the job's changes to the images."""
    import torch  # noqa: PLC0415

    from client.training.loop import LocalTraining  # noqa: PLC0415
    from client.work.warm_networks import Workshop  # noqa: PLC0415

    device, rounds = torch.device("cpu"), count(1)
    bench = Workshop(device).bench(job.canonical())
    training = LocalTraining(bench.model, bench.task, samples_of(job), job, site="here", device=device)
    return lambda: training.run(next(rounds))


def dice(console: Console) -> dict[str, list[float]]:
    """Return the Dice of the test patients of quickstart, for three seeds, in float32 and at best."""
    from simulate.session.session import Hospitals, execute, start  # noqa: PLC0415

    found: dict[str, list[float]] = {}
    table = Table("quickstart, Dice of the test patients", "seed 1", "seed 2", "seed 3")
    for kind in ("float32", BEST):
        found[kind] = []
        for seed in (1, 2, 3):
            with tempfile.TemporaryDirectory() as folder:
                job = job_of("quickstart", SETTINGS[kind] | {"job.seed": seed})
                run = start(job, Hospitals(), Path(folder), "cpu", baselines=False)
                execute(run, None, Console(quiet=True))
                found[kind].append(run.read_description()["test"]["federation"]["dice_global"])
        table.add_row(kind, *(f"{value:.3f}" for value in found[kind]))
    console.print(table)
    return found


def table_of(figures: dict[str, Any]) -> Table:
    """Return a row for each setting, with its share of the plain loop's time."""
    jobs = [name for name in JOBS if name in figures]
    table = Table("share of the plain loop's time", *jobs)
    for kind in SETTINGS:
        if kind in figures[jobs[0]]:
            table.add_row(kind, *(f"{figures[name][kind]:.2f}" for name in jobs))
    return table


if __name__ == "__main__":
    main()
