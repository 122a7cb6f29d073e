"""Fifty sites on one machine, twenty rounds: does the run finish, and what does it take?

A coordinator as in real life, and fifty nodes as threads of one process: each with its own certificate,
connection and data, and almost nothing to train. Prints the seconds of a round and the memory of every
process; misses when the run does not finish, or a site is lost on the way.

    python benchmarks/fifty_sites.py [--quick] [--sites 1000 --rounds 10]
"""

import argparse
import csv
import os
import sys
import tempfile
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

from common import conditions, finish, make_job, watched_memory, write_hospitals  # noqa: E402

from client.training.device import open_device  # noqa: E402
from client.work.warm_networks import Workshop  # noqa: E402
from shared.job.schema import JobSpec  # noqa: E402
from simulate.federation.light_nodes import LightHost, LightNode  # noqa: E402
from simulate.federation.processes import LocalFederation  # noqa: E402

SIDE = 16
ROLES = {
    "flower-superlink": "SuperLink",
    "flwr-serverapp": "ServerApp",
    "wardround server": "gateway",
    "fifty_sites.py": "all nodes",
}


def job_of(sites: int, rounds: int) -> JobSpec:
    """Return a job with one step on two small images a round."""
    return make_job(
        job_name="fifty",
        job_rounds=rounds,
        data={"size": [SIDE, SIDE]},
        training={"local_steps": 1, "batch_size": 2},
        strategy={"name": "fedavg", "min_sites": sites, "round_timeout": 300.0},
        evaluation=None,
    )


def main() -> None:
    """Measure, print, and exit with 1 when the run does not finish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sites and rounds; held to no figure")
    parser.add_argument("--sites", type=int, help="in place of 50")
    parser.add_argument("--rounds", type=int, help="in place of 20")
    options = parser.parse_args()
    quick, (sites, rounds) = options.quick, (6, 2) if options.quick else (50, 20)
    sites, rounds = options.sites or sites, options.rounds or rounds
    result: dict[str, Any] = {**conditions(), "sites": sites, "rounds": rounds}
    make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        manifest = write_hospitals(folder / "images", sites, 4, SIDE, ("train", "train", "val", "test"))
        federation = stack.enter_context(LocalFederation(folder))
        peaks = stack.enter_context(watched_memory(ROLES))
        for number in range(sites):
            site = federation.enrol(f"site-{number:03d}", {"discs": manifest})
            stack.enter_context(LightNode(site, make_host))
        federation.await_online({f"site-{number:03d}" for number in range(sites)})
        runs = federation.runs()
        run = runs.submit(job_of(sites, rounds))
        failures = [event.site for event in runs.follow(run) if event.kind == "site_failed"]
        [row] = [row for row in runs.list() if row.name == run]
        with (folder / "coordinator" / "runs" / run / "metrics.csv").open() as file:
            seconds = [float(line["seconds"]) for line in csv.DictReader(file)]
        result |= {"status": row.status, "failures": len(failures), "peak_mb": dict(peaks)}
    result["round_seconds"] = {"median": median(seconds), "first": seconds[0], "longest": max(seconds)}
    table = Table(title=f"{sites} sites, {rounds} rounds: {row.status}, {len(failures)} failures of sites")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, value in result["round_seconds"].items():
        table.add_row(f"{what} round", f"{value:.2f} s")
    for role, peak in sorted(peaks.items()):
        table.add_row(f"peak memory of {role}", f"{peak:.0f} MB")
    Console().print(table)
    missed = [] if row.status == "finished" else [f"the run {row.status}: {row.reason}"]
    if failures:
        missed.append(f"{len(failures)} times a site failed")
    finish("fifty_sites", result, missed, quick=quick)


if __name__ == "__main__":
    main()
