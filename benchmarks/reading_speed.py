"""How long do the packs of images take to be read and prepared, beside a clone from before a change?

    python benchmarks/reading_speed.py [--before PATH-OF-A-CLONE] [--pairs 10] [--only brain-lgg] [--quick]

One process of each version reads the same pack in memory, in turn with the other, so that both meet the same
machine: the manifest, every image and mask, and what the shipped job makes of them. Compared are the medians
of processor and of wall time, and of their ratios within a pair; and whether the samples have the same bits.
Without a clone the times of now are printed, and held to nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import DATA, PROJECT, conditions, finish
from rich.console import Console
from rich.table import Table

PACKS = {"brain-lgg": "brain_lgg_5sites_2d", "hippocampus": "hippocampus_nifti"}
MOST = 1.0  # of the time before
_COLUMNS = {
    "cpu_before": "before, s",
    "cpu": "now, s",
    "cpu_of_before": "now of before",
    "wall_before": "wall: before, s",
    "wall": "now, s",
    "wall_of_before": "now of before",
}
_HERE = """
from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from shared.job.schema import load_job

def load(manifest, job):
    return SiteData.load(manifest, job, site="all", split=Split(CohortKey.drawn(1)))

def arrays(samples):
    return [(column if isinstance(column, list) else list(column)) for column in samples.columns.values()]
"""
_BEFORE = """
from client.data.dataset import SiteData
from shared.job import load_job

def load(manifest, job):
    return SiteData.load(manifest, job, site="all")

def arrays(samples):
    return [list(samples.images), list(samples.targets)]
"""
"""Of 7a58ada, the last commit whose readers looked at neither checksums nor places."""
_LOOP = """
import hashlib, json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
job, manifest = load_job(Path(sys.argv[1])), Path(sys.argv[2])
for line in sys.stdin:
    cpu, wall = time.process_time(), time.monotonic()
    data = load(manifest, job)
    sides = [data.split(side) for side in ("train", "val", "test")]
    took = [time.process_time() - cpu, time.monotonic() - wall]
    names = [key for samples in sides for key in samples.keys]
    found = [[value for samples in sides for value in arrays(samples)[column]] for column in (0, 1)]
    digest = hashlib.sha256()
    for _, *values in sorted(zip(names, *found), key=lambda one: one[0]):
        for value in values:
            digest.update(value.contiguous().numpy().tobytes())
    print(json.dumps([*took, digest.hexdigest()]), flush=True)
"""


class Version:
    """A process that reads one pack whenever it is asked."""

    def __init__(self, clone: Path, program: str, job: str, manifest: Path) -> None:
        file = clone / "configs" / "jobs" / f"{job}.toml"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program + _LOOP, str(file), str(manifest)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=clone,
            env=os.environ | {"PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"},
        )

    def read(self) -> tuple[float, float, str]:
        """Return seconds of processor time, of wall time, and the SHA-256 of all samples.

        Raises:
            RuntimeError: The process ended; its traceback is on the standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("a version of the readers failed")
        cpu, wall, digest = json.loads(answer)
        return cpu, wall, digest

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Print a row per pack; fails where reading takes longer than before."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="a clone at 7a58ada")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--only", choices=list(PACKS))
    parser.add_argument("--quick", action="store_true", help="one pair; held to no figure")
    options = parser.parse_args()
    pairs = 1 if options.quick else options.pairs
    figures: dict[str, Any] = {**conditions(), "pairs": pairs, "skipped": []}
    table = Table("pack", *_COLUMNS.values(), "bits")
    missed = []
    for job in [options.only] if options.only else PACKS:
        manifest = DATA / PACKS[job] / "manifest.csv"
        if not manifest.is_file():
            print(f"{job}: skipped, {manifest} is not there; set WARDROUND_DATA", file=sys.stderr)
            figures["skipped"].append(job)
            continue
        found = figures[job] = compared(options.before, job, manifest, pairs)
        bits = {True: "the same", False: "others"}.get(found.get("same_bits"), "–")
        table.add_row(job, *(str(found.get(name, "–")) for name in _COLUMNS), bits)
        if found.get("cpu_of_before", 0) > MOST:
            missed.append(f"{job}: {found['cpu_of_before']} of the time before")
    Console(width=120).print(table)
    finish("reading_speed", figures, missed, quick=options.quick)


def compared(before: Path | None, job: str, manifest: Path, pairs: int) -> dict[str, Any]:
    """Return the medians of alternating readings of both versions, or of readings of this one."""
    versions = {"now": Version(PROJECT, _HERE, job, manifest)}
    if before is not None:
        versions["before"] = Version(before.resolve(), _BEFORE, job, manifest)
    try:
        for version in versions.values():
            version.read()  # imports, the files in the system's memory
        rounds = []
        for number in range(pairs):
            order = list(versions) if number % 2 else list(reversed(versions))
            rounds.append({which: versions[which].read() for which in order})
    finally:
        for version in versions.values():
            version.close()
    figures: dict[str, Any] = {}
    for place, name in enumerate(("cpu", "wall")):
        new = [float(one["now"][place]) for one in rounds]
        figures[name] = round(statistics.median(new), 3)
        if before is not None:
            old = [float(one["before"][place]) for one in rounds]
            figures[f"{name}_before"] = round(statistics.median(old), 3)
            ratios = [here / there for here, there in zip(new, old, strict=True)]
            figures[f"{name}_of_before"] = round(statistics.median(ratios), 3)
    if before is not None:
        figures["same_bits"] = rounds[-1]["now"][2] == rounds[-1]["before"][2]
    return figures


if __name__ == "__main__":
    main()
