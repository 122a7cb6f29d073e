"""Every shipped job, simulated and over a real federation: does it run, and with the same bits?

    python benchmarks/every_job.py [JOB ...] [--patients 12] [--quick]

Each job of configs/jobs is cut to two rounds of two steps and to a few patients of each hospital. It is
simulated, and then submitted to a coordinator (processes, mutual TLS) whose hospitals judge it by their
policy, write their logs and book what it costs. Real packs that are not there are skipped. Misses where
a run fails, or gives another model or other results than its simulation. Where the job is private the noise
is each site's own, so that only its end is looked at.
"""

import argparse
import csv
import io
import json
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from brains import series_of_brains
from common import DATA, PROJECT, are_there, conditions, finish, rows_of, shipped
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from science import STUDIES, Study, shortened

from client.data.manifest.rows import manifest_path
from client.settings.site import SiteConfig
from client.work.site_worker import SiteHost
from client.workers.calls import Call
from shared.job.schema import JobSpec
from simulate.data.phantom import PHANTOMS, make_phantom
from simulate.federation.light_nodes import LightNode
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, execute, start

JOBS = sorted(path.stem for path in (PROJECT / "configs" / "jobs").glob("*.toml"))
OTHERS = {
    "brain-series": Study("brain_lgg_5sites_2d", "", 0.0, made=series_of_brains),
    "hippocampus": Study("hippocampus_nifti", "", 0.0),
    **{job: Study("skin_ham_4sites", "", 0.0) for job in ("skin-few-shot", "skin-generate")},
    "skin-lesions-private": Study("skin_ham_4sites", "", 0.0),
}
"""Data of shipped jobs that are no study of `science.py`."""
WHERE = STUDIES | OTHERS


def main() -> None:
    """Run the jobs asked for, print what came of each, and fail where one misses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", nargs="*", choices=[*JOBS, []], help="all of them, if none is named")
    parser.add_argument("--patients", type=int, default=12, help="of each hospital")
    parser.add_argument("--quick", action="store_true", help="one job; held to no figure")
    asked = parser.parse_args()
    found: dict[str, str] = {}
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="wardround-every-job-"))
        federation = stack.enter_context(LocalFederation(Path(place)))
        for name in ["quickstart"] if asked.quick else asked.jobs or JOBS:
            begun = time.monotonic()
            found[name] = said_of(name, asked.patients, federation)
            print(f"{name}: {found[name]} ({time.monotonic() - begun:.0f} s)", file=sys.stderr, flush=True)
    table = Table("job", "simulated and deployed", title="Shipped jobs")
    for row in found.items():
        table.add_row(*row)
    Console().print(table)
    missed = [name for name, said in found.items() if said not in GOOD]
    finish("every_job", {**conditions(), "jobs": found}, missed, quick=asked.quick)


SAME, PRIVATE, SKIPPED = "the same bits", "runs; its noise is its own", "skipped: its data are not there"
GOOD = (SAME, PRIVATE, SKIPPED)


def said_of(name: str, patients: int, federation: LocalFederation) -> str:
    """Return what came of a job; a failure in its own words."""
    job = cut(shipped(name))
    if job.job.dataset not in PHANTOMS and not are_there(WHERE[name].pack):
        return SKIPPED
    folder = federation.folder / f"of-{name}"
    (folder / "cut").mkdir(parents=True)
    try:
        manifest = few(manifest_of(name, job, folder), folder / "cut" / "few", patients, name)
        here = simulated(job, manifest, folder)
        there = deployed(job, manifest, federation)
    except Exception as error:  # one job's failure ends no other
        traceback.print_exc()
        return f"failed: {error}"
    if job.privacy.mechanism == "dp-sgd":
        return PRIVATE
    other = [what for what in here if here[what] != there[what]]
    return f"differs: {', '.join(other)}" if other else SAME


def cut(job: JobSpec) -> JobSpec:
    """Return a job with two rounds of two steps a site."""
    short = shortened(job)
    return short.model_copy(update={"job": short.job.model_copy(update={"rounds": 2})})


def manifest_of(name: str, job: JobSpec, folder: Path) -> Path:
    """Return the manifest of all hospitals of a job, as in its own simulation."""
    if job.job.dataset in PHANTOMS:
        return make_phantom(job.job.dataset, folder / "whole", job.job.seed)
    study = WHERE[name]
    (folder / "whole").mkdir()
    return study.made(folder / "whole") if study.made else manifest_path(DATA / study.pack / study.table)


def few(manifest: Path, folder: Path, patients: int, job: str) -> Path:
    """Write the rows of the first patients of each hospital and split, beside links to what they name.

    The hospitals of each job have names of their own, as all jobs go to one coordinator.

    Returns:
        The new manifest.
    """
    whole = manifest.parent.resolve()
    for path in whole.parent.iterdir():  # tables may name what another pack beside theirs has
        (folder.parent / path.name).symlink_to(path)
    folder.mkdir()
    for path in whole.iterdir():
        if path.name != manifest.name:
            (folder / path.name).symlink_to(path)
    rows, chosen = rows_of(manifest), []
    kept: dict[tuple[str | None, str | None], set[str]] = defaultdict(set)
    for row in rows:
        of_part = kept[row.get("site"), row.get("split")]
        if len(of_part) < patients or row["patient"] in of_part:
            of_part.add(row["patient"])
            cells = {name: absolute(cell, whole, folder) for name, cell in row.items()}
            chosen.append(cells | {"site": f"{job}-{row['site']}".lower()})
    with (folder / manifest.name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
    return folder / manifest.name


def absolute(cell: str, whole: Path, folder: Path) -> str:
    """Return a cell that names the same from a folder as from the whole pack's."""
    return str((whole / cell).resolve()) if cell.startswith("../") and not (folder / cell).exists() else cell


def simulated(job: JobSpec, manifest: Path, folder: Path) -> dict[str, object]:
    """Return what the simulation of a job brings."""
    run = start(job, Hospitals(data=manifest), folder / "simulated", "cpu", baselines=False)
    execute(run, "in-process", Console(file=io.StringIO()))
    return results(run.path)


def deployed(job: JobSpec, manifest: Path, federation: LocalFederation) -> dict[str, object]:
    """Return what a job brings that is submitted to a coordinator.

    Raises:
        RuntimeError: It did not finish.
    """
    names = sorted({row["site"] for row in rows_of(manifest)})
    turn = threading.Lock()
    with ExitStack() as stack:
        for name in names:
            site = federation.enrol(name, {job.job.dataset: manifest}, seed=job.job.seed)
            stack.enter_context(LightNode(site, partial(OneAtATime, site, turn)))
        federation.await_online(set(names))
        runs = federation.runs()
        run = runs.submit(job)
        for event in runs.follow(run):
            if event.kind == "site_failed":
                print(f"  {event.site}: {event.data['reason']}", file=sys.stderr, flush=True)
        row = runs.look(run).row
        if row.status != "finished":
            raise RuntimeError(f"{row.status}: {row.reason}")
        return results(federation.folder / "coordinator" / "runs" / run)


class OneAtATime:
    """Serves a site's messages as its worker does; the threads share what random numbers come from."""

    def __init__(self, folder: Path, turn: threading.Lock, _: SiteConfig) -> None:
        self._host = SiteHost(folder / "site.toml")
        self._turn = turn

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Serve a message."""
        with self._turn:
            return self._host.handle(call)


def results(run: Path) -> dict[str, Any]:
    """Return the models of a run, and how they are judged."""
    models = {path.name: path.read_bytes() for path in sorted(run.glob("*.safetensors"))}
    return {**models, "test": json.loads((run / "run.json").read_text(encoding="utf-8")).get("test")}


if __name__ == "__main__":
    main()
