"""Training on a GPU: arithmetic, compiled kernels, several sites on one GPU, data from the disk.

    python benchmarks/gpu.py [--out FOLDER] [--seconds 170] [--quick]

Steps per second of the brain-lgg network and of a 3D network on patches, beside a plain MONAI loop; rounds
per second of four sites that share the GPU beside one; steps per second of patches of volumes that are read
from the disk beside volumes in memory; the GPU's memory at its peak. What fails is an entry `error` and costs
the other figures nothing. Nothing is begun after the seconds given. Without a GPU, and with `--quick`, sizes
are tiny; no figure is held.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import conditions, finish, make_job, shipped
from monai.losses import DiceCELoss
from rich.console import Console
from rich.table import Table

from client.data.samples.batches import Samples
from client.training.compiler import keep_kernels_in
from client.training.device import half_precisions, open_device
from client.training.loop import LocalTraining, place_model
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.tasks import make_task

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Sizes:
    """How much is trained."""

    image: int  # pixels along an axis of the 2D network's images
    patch: int  # of the 3D network
    volume: int
    images: int
    volumes: int
    steps: int  # timed
    sites: int


FULL = Sizes(image=128, patch=96, volume=160, images=256, volumes=8, steps=30, sites=4)
QUICK = Sizes(image=32, patch=16, volume=24, images=16, volumes=3, steps=2, sites=2)


def main() -> None:
    """Measure each part, print a table, write `gpu.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for gpu.json")
    parser.add_argument("--seconds", type=float, default=170.0, help="nothing is begun after them")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; held to no figure")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    torch.set_num_threads(1)  # as at a site
    gpu = torch.cuda.is_available()
    sizes = FULL if gpu and not options.quick else QUICK
    figures: dict[str, Any] = conditions() | _machine()
    with tempfile.TemporaryDirectory() as folder:
        keep_kernels_in(Path(folder) / "kernels")
        for name, part in _parts(sizes, Path(folder)).items():
            figures[name] = _guarded(part, end)
            print(json.dumps({name: figures[name]}), flush=True)
            if options.out is not None:  # what is here counts, should the next part end the process
                (options.out / "gpu.json").write_text(json.dumps(figures, indent=1))
    _show(figures)
    finish("gpu", figures, [], quick=options.quick)


def _machine() -> dict[str, Any]:
    known = {"torch": torch.__version__, "python": platform.python_version()}
    return known | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def _parts(sizes: Sizes, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name, the most wanted first."""
    device = open_device("auto")
    halves = [name for name in PRECISIONS if name == "float32" or name in half_precisions(device)]
    plane, volume = brain_job(sizes), volume_job(sizes)
    parts: dict[str, Callable[[], Any]] = {}
    for title, job, make in (("2D", plane, images_of), ("3D", volume, volumes_of)):
        parts[f"{title} plain"] = lambda job=job, make=make: plain(job, make(job, sizes), device, sizes)
        for precision in halves:
            changed = _with(job, precision=precision)
            parts[f"{title} {precision}"] = lambda job=changed, make=make: ours(
                job, make(job, sizes), device, sizes
            )
    parts["sites"] = lambda: sharing(plane, sizes)
    parts["disk"] = lambda: from_disk(sizes, folder, device)
    wanted = ("bfloat16", "float32", "float16") if sizes is FULL else ()  # to compile each takes a minute
    for precision in filter(halves.__contains__, wanted):
        for title, job, make in (("2D", plane, images_of), ("3D", volume, volumes_of)):
            changed = _with(job, precision=precision, compile=True)
            parts[f"{title} {precision} compiled"] = lambda job=changed, make=make: ours(
                job, make(job, sizes), device, sizes
            )
    return parts


def _guarded(part: Callable[[], Any], end: float) -> Any:
    if time.monotonic() > end:
        return {"error": "no time left"}
    begun = time.monotonic()
    try:
        found = part()
    except Exception as error:  # one part must not lose the others
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {**found, "seconds_in_all": round(time.monotonic() - begun, 1)}


def brain_job(sizes: Sizes) -> JobSpec:
    """Return brain-lgg, with as many steps in a round as are timed."""
    changes: dict[str, Any] = {"data.size": [sizes.image] * 2, "training.local_steps": sizes.steps}
    changes |= {"training.local_epochs": None}
    return shipped("brain-lgg", changes)


def volume_job(sizes: Sizes) -> JobSpec:
    """Return a U-Net in 3D on patches."""
    return make_job(
        data_dimensions=3,
        data_size=None,
        data_patch=[sizes.patch] * 3,
        data_augment=["flip", "intensity"],
        model_channels=[32, 64, 128, 256],
        model_norm="instance",
        training_local_epochs=None,
        training_local_steps=sizes.steps,
        training_batch_size=2,
    )


def _with(job: JobSpec, **changes: Any) -> JobSpec:
    return job.model_copy(update={"training": job.training.model_copy(update=changes)})


def images_of(job: JobSpec, sizes: Sizes) -> Samples:
    """Return noisy images (n, C, H, W) with a bright disc each, in memory."""
    return _samples(job, (sizes.image,) * 2, sizes.images)


def volumes_of(job: JobSpec, sizes: Sizes) -> Samples:
    """Return noisy volumes (n, 1, D, H, W) with a bright ball each, in memory."""
    return _samples(job, (sizes.volume,) * 3, sizes.volumes)


def _samples(job: JobSpec, shape: tuple[int, ...], count: int) -> Samples:
    generator = torch.Generator().manual_seed(0)
    places = torch.stack(torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij"))
    centres = torch.rand(count, len(shape), generator=generator) * 0.5 + 0.25
    masks = torch.stack(
        [
            ((places - (centre * shape[0]).view(-1, *[1] * len(shape))) ** 2).sum(0) < (shape[0] / 6) ** 2
            for centre in centres
        ]
    ).to(torch.uint8)
    images = torch.randn(count, job.data.channels, *shape, generator=generator) + 2 * masks[:, None]
    names = [str(number) for number in range(count)]
    return Samples(job, {"image": images, "mask": masks}, patients=names, keys=names, spacings=[None] * count)


def plain(job: JobSpec, samples: Samples, device: torch.device, sizes: Sizes) -> dict[str, float]:
    """Train as most do: MONAI's network and loss, Adam, each batch moved when it is needed."""
    network = build_model(job).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    of_batch = job.task.loss.startswith("batch")
    criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=of_batch)
    crop = tuple(slice(0, size) for size in job.data.patch or ())
    draw = torch.Generator().manual_seed(0)

    def step() -> None:
        chosen = torch.randint(len(samples), (job.training.batch_size,), generator=draw)
        images = samples.columns["image"][(chosen, slice(None), *crop)].to(device)
        masks = samples.columns["mask"][(chosen, *crop)][:, None].to(device)
        optimizer.zero_grad()
        loss = criterion(network(images), masks)
        loss.backward()
        optimizer.step()
        loss.item()

    def steps() -> None:
        for _ in range(sizes.steps):
            step()

    return _timed(steps, device, sizes.steps)


def ours(job: JobSpec, samples: Samples, device: torch.device, sizes: Sizes) -> dict[str, float]:
    """Train as a site does: every round with an optimiser of its own, augmented, cropped, loaded ahead."""
    torch._dynamo.reset()
    network = place_model(build_model(job), job, device)
    training = LocalTraining(network, make_task(job), samples, job, site="here", device=device)
    rounds = iter(range(1, 1000))
    return _timed(lambda: training.run(next(rounds)), device, sizes.steps)


def _timed(work: Callable[[], object], device: torch.device, steps: int) -> dict[str, float]:
    """Do it once to warm up, then three times."""
    begun = time.perf_counter()
    work()
    _wait(device)
    first = time.perf_counter() - begun
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
    return {
        "steps_per_second": round(steps / sorted(seconds)[1], 2),
        "first_seconds": round(first, 2),
        "peak_gpu_mib": round(peak, 1),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def sharing(job: JobSpec, sizes: Sizes) -> dict[str, Any]:
    """Train rounds of one site in one process, then of several side by side, all on one GPU."""
    alone, together = _side_by_side(job, sizes, 1), _side_by_side(job, sizes, sizes.sites)
    return {
        "rounds_per_second_of_one": round(alone, 3),
        f"rounds_per_second_of_{sizes.sites}": round(together, 3),
        "gain": round(together / alone, 2),
    }


def _side_by_side(job: JobSpec, sizes: Sizes, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.SimpleQueue()
    processes = [
        context.Process(target=_one_site, args=(job.canonical(), sizes, barrier, results))
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a site's process ended with {process.exitcode}")
    spans = [results.get() for _ in processes]
    rounds = sum(done for _, _, done in spans)
    return rounds / (max(end for _, end, _ in spans) - min(begin for begin, _, _ in spans))


def _one_site(canonical: str, sizes: Sizes, barrier: Any, results: Any) -> None:
    torch.set_num_threads(1)
    job, device = JobSpec.model_validate_json(canonical), open_device("auto")
    network = place_model(build_model(job), job, device)
    samples = images_of(job, sizes)
    LocalTraining(network, make_task(job), samples, job, site="here", device=device).run(1)
    _wait(device)
    barrier.wait(120)
    begin, rounds = time.monotonic(), 5
    for number in range(rounds):
        LocalTraining(network, make_task(job), samples, job, site="here", device=device).run(number + 2)
    _wait(device)
    results.put((begin, time.monotonic(), rounds))


def from_disk(sizes: Sizes, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train on patches of volumes that are prepared on the disk, beside the same in memory."""
    import larger_than_memory as other  # noqa: PLC0415 (it needs readers of files, the rest does not)

    case = other.Case(sizes.volumes, (sizes.volume,) * 3, sizes.patch, 0, 0, sizes.steps)
    other.write_volumes(folder / "volumes", case)
    job, found = volume_job(sizes), {}
    for place, limits in (("memory", {}), ("disk", {"memory_gib": 1e-5})):
        samples = other.samples_of(
            folder / "volumes", folder / "cache", sizes.volumes, case, processes=4, **limits
        )
        if samples.on_disk != (place == "disk"):
            raise RuntimeError(f"the volumes are not in {place}")
        found[place] = ours(job, samples, device, sizes)["steps_per_second"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    share = round(found["disk"] / found["memory"], 3)
    return {
        "steps_per_second_from_memory": found["memory"],
        "steps_per_second_from_disk": found["disk"],
        "share": share,
        "peak_mib": round(memory),
    }


def _show(figures: dict[str, Any]) -> None:
    table = Table("what", "figures", title=figures.get("gpu", "no GPU: tiny sizes"))
    for name, found in figures.items():
        if isinstance(found, dict):
            table.add_row(name, ", ".join(f"{key} {value}" for key, value in found.items()))
    Console(width=int(os.environ.get("COLUMNS", "160"))).print(table)


if __name__ == "__main__":
    main()
