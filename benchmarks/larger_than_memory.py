"""Training on volumes that no memory holds: prepared by several processes, and read patch by patch.

A U-Net is trained on patches of volumes that lie prepared on the disk, beside the same training on some of
them in memory. Preparing is measured on a part of the volumes with one process and with two, then killed in
the middle and begun again.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from common import apart, conditions, finish, make_job
from rich.console import Console
from rich.table import Table

MEMORY_GIB = 2.0  # of the process that trains
PARALLEL = 1.8  # times the speed of one process
SPEED = 0.95  # of the steps per second of data in memory
_GIB = 2**30


@dataclass(frozen=True)
class Case:
    """How much is prepared and trained."""

    volumes: int
    shape: tuple[int, int, int]
    patch: int
    timed: int  # volumes with which preparing is timed
    held: int  # volumes that are held in memory
    steps: int


FULL = Case(200, (256, 256, 160), 96, 100, 24, 20)
QUICK = Case(4, (40, 40, 32), 16, 3, 3, 2)


def main() -> None:
    """Measure, print a table and the figures; exit with 1 where one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small volumes; held to no figure")
    parser.add_argument("--volumes", type=int, help="fewer than 200, where the disk is small")
    parser.add_argument(
        "--folder", type=Path, help="where the volumes are made and kept; else a temporary one"
    )
    options = parser.parse_args()
    case = QUICK if options.quick else FULL
    if options.volumes:
        most = options.volumes
        timed, held = min(case.timed, most), min(case.held, most)
        case = replace(case, volumes=most, timed=timed, held=held)
    figures = conditions()
    with tempfile.TemporaryDirectory() as temporary:
        figures |= measured(options.folder or Path(temporary), case)
    table = Table("what", "figure", title=f"{case.volumes} volumes of {'x'.join(map(str, case.shape))}")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)
    finish("larger_than_memory", figures, missed(figures), quick=options.quick)


def measured(folder: Path, case: Case) -> dict[str, Any]:
    """Return the figures of one case."""
    data = folder / f"volumes-{case.volumes}-{'x'.join(map(str, case.shape))}"
    if not (data / "manifest.csv").exists():
        write_volumes(data, case)
    cache, part = folder / "cache", folder / "part"
    seconds = {}
    for processes in (1, 2):
        shutil.rmtree(part, ignore_errors=True)
        seconds[processes] = apart(prepare, data, part, case.timed, processes, case)
    memory = apart(train, data, part, case.held, None, case)
    before, after, again = killed_and_resumed(data, cache, case)
    mapped = apart(train, data, cache, case.volumes, 1e-3, case)
    return {
        "gib_prepared": round(sum(file.stat().st_size for file in cache.rglob("*.safetensors")) / _GIB, 3),
        "seconds_one_process": round(seconds[1], 2),
        "seconds_two_processes": round(seconds[2], 2),
        "parallel_speed": round(seconds[1] / seconds[2], 3),
        "prepared_before_the_kill": before,
        "prepared_after_it": after,
        "prepared_twice": again,
        "steps_per_second_in_memory": round(memory["steps_per_second"], 3),
        "steps_per_second_from_disk": round(mapped["steps_per_second"], 3),
        "speed": round(mapped["steps_per_second"] / memory["steps_per_second"], 3),
        "cpu_seconds_per_step_in_memory": round(memory["cpu_per_step"], 3),
        "cpu_seconds_per_step_from_disk": round(mapped["cpu_per_step"], 3),
        "peak_gib": round(mapped["peak_gib"], 3),
        "same_bits": mapped["first_batch"] == memory["first_batch"],
    }


def missed(figures: dict[str, Any]) -> list[str]:
    """Say which figures were missed."""
    found = {
        f"two processes prepare less than {PARALLEL} times as fast as one": figures["parallel_speed"]
        < PARALLEL,
        f"less than {SPEED} of the steps of data in memory": figures["speed"] < SPEED,
        f"more than {MEMORY_GIB} GiB of memory": figures["peak_gib"] > MEMORY_GIB,
        "what was prepared before the kill was prepared again": figures["prepared_twice"] > 0,
        "a batch from the disk has other bits than one from memory": not figures["same_bits"],
    }
    return [name for name, is_missed in found.items() if is_missed]


def write_volumes(folder: Path, case: Case) -> None:
    """Write compressed volumes with a bright ball each, and its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(100, 20, case.shape)
    places = np.indices(case.shape)
    rows = ["patient,image,mask,split"]
    for number in range(case.volumes):
        centre = rng.uniform(0.3, 0.7, 3) * case.shape
        distance = sum((axis - at) ** 2 for axis, at in zip(places, centre, strict=True))
        mask = distance < (min(case.shape) / 8) ** 2
        image = np.roll(noise, number, axis=0) + 50 * mask
        for name, array in (("image", image.astype(np.int16)), ("mask", mask.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}{number}.nii.gz")
        rows.append(f"p{number},image{number}.nii.gz,mask{number}.nii.gz,train")
    rows.append("validates,image0.nii.gz,mask0.nii.gz,val")
    (folder / "manifest.csv").write_text("\n".join(rows))


def job_of(case: Case) -> Any:
    """Return the job: patches, flipped and shaded."""
    return make_job(
        data_dimensions=3,
        data_size=None,
        data_patch=[case.patch] * 3,
        data_augment=["flip", "intensity"],
        model_channels=[8, 16, 32],
        training_local_epochs=None,
        training_local_steps=case.steps,
        training_batch_size=2,
    )


def samples_of(data: Path, cache: Path, count: int, case: Case, **limits: Any) -> Any:
    """Return the first volumes of the folder, prepared."""
    from client.data.cache.settings import CacheTable  # noqa: PLC0415 (the process that prints needs none of it)
    from client.data.manifest.splits import CohortKey, Split  # noqa: PLC0415
    from client.data.samples.site_data import SiteData  # noqa: PLC0415

    header, *rows = (data / "manifest.csv").read_text().splitlines()
    manifest = data / f"first-{count}.csv"
    manifest.write_text("\n".join([header, *rows[:count], rows[-1]]))
    table = CacheTable(folder=cache, **limits)
    split = Split(CohortKey.drawn(0))
    return SiteData.load(manifest, job_of(case), site="here", split=split, cache=table).split("train")


def prepare(data: Path, cache: Path, count: int, processes: int, case: Case) -> float:
    """Prepare volumes and return the seconds that it took."""
    from client.data.cache import preparing  # noqa: PLC0415

    preparing._WORTH_IT = 0  # a quick run's volumes are small
    start = time.perf_counter()
    samples_of(data, cache, count, case, processes=processes, memory_gib=1e-3)
    return time.perf_counter() - start


def killed_and_resumed(data: Path, cache: Path, case: Case) -> tuple[int, int, int]:
    """Kill a preparation in the middle and begin it again.

    Returns:
        Samples on the disk when it was killed, those that were added afterwards, and those written twice.
    """
    shutil.rmtree(cache, ignore_errors=True)
    code = (
        "from pathlib import Path; from larger_than_memory import Case, prepare; "
        f"prepare(Path({str(data)!r}), Path({str(cache)!r}), {case.volumes}, 2, {case!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, start_new_session=True
    )
    while process.poll() is None and len(list(cache.rglob("*.safetensors"))) < max(1, case.volumes // 3):
        time.sleep(0.01)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # its children find that it has gone
    written = {path: path.stat().st_ino for path in cache.rglob("*.safetensors")}
    apart(prepare, data, cache, case.volumes, 2, case)
    after = {path: path.stat().st_ino for path in cache.rglob("*.safetensors")}
    return len(written), len(after) - len(written), sum(after[path] != node for path, node in written.items())


def train(data: Path, cache: Path, count: int, memory_gib: float | None, case: Case) -> dict[str, Any]:
    """Train for two rounds, of which the second is timed; None keeps everything in memory."""
    import hashlib  # noqa: PLC0415

    import torch  # noqa: PLC0415

    from client.training.loop import LocalTraining  # noqa: PLC0415
    from shared.networks.build import build_model  # noqa: PLC0415
    from shared.tasks import make_task  # noqa: PLC0415

    torch.set_num_threads(1)
    limits = {} if memory_gib is None else {"memory_gib": memory_gib}
    job = job_of(case)
    samples = samples_of(data, cache, count, case, processes=2, **limits)
    batch = samples.batch([0, 1], augment_seed=1)
    task = make_task(job)
    training = LocalTraining(
        build_model(job, seed=0), task, samples, job, site="here", device=torch.device("cpu")
    )
    training.run(1)
    wall, cpu = time.perf_counter(), time.process_time()
    training.run(2)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "steps_per_second": case.steps / wall,
        "cpu_per_step": cpu / case.steps,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,  # Linux counts in KiB
        "first_batch": hashlib.sha256(batch["image"].numpy().tobytes()).hexdigest(),
    }


if __name__ == "__main__":
    main()
