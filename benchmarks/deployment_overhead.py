"""Seconds that a round of a real federation takes beyond the slowest site's work.

Three sites with a model of 1.5 MB on loopback, with TLS and node authentication. A round trains and
evaluates; the slowest site's training and the slowest site's evaluation are taken off. Then the same job with
Flower's own SuperNodes and Grid, through a port in front of the SuperLink's socket. The last line is JSON;
exits with 1 when the goal is missed.

    python benchmarks/deployment_overhead.py [--quick] [--without-flower]
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

from common import conditions, finish  # noqa: E402
from loopback_tls import tls_door  # noqa: E402

from server.audit.log import operator_audit  # noqa: E402
from server.registry.store import DEFAULT_PROJECT  # noqa: E402
from server.runs.control import Priority  # noqa: E402
from server.runs.folder import run_name  # noqa: E402
from server.runs.local import Coordinator  # noqa: E402
from shared.flower.runs import Runs  # noqa: E402
from shared.job.schema import JobSpec, load_job  # noqa: E402
from shared.networks.build import build_model  # noqa: E402
from shared.run_folder import EVENTS  # noqa: E402
from shared.wire.packed_model import Layout  # noqa: E402
from simulate.data.phantom import make_phantom  # noqa: E402
from simulate.federation.processes import LocalFederation  # noqa: E402

GOAL = 0.5  # seconds a round
SITES = ("north", "south", "east")
JOB = HERE.parent / "configs" / "jobs" / "quickstart.toml"


def make_job(rounds: int, sites: int) -> JobSpec:
    """Return the quickstart job with a model of 1.5 MB and two training steps a round."""
    return load_job(
        JOB,
        {
            "job.rounds": rounds,
            "model.channels": [16, 32, 62, 120],
            "training.local_steps": 2,
            "training.local_epochs": None,
            "strategy.min_sites": sites,
        },
    )


def overheads(folder: Path) -> list[float]:
    """Return the overhead of each round but the first, in which sites read their data."""
    with (folder / "metrics.csv").open() as file:
        rounds = {int(row["round"]): float(row["seconds"]) for row in csv.DictReader(file)}
    slowest: dict[tuple[int, str], float] = {}
    with (folder / "sites.csv").open() as file:
        for row in csv.DictReader(file):
            key = int(row["round"]), row["phase"]
            slowest[key] = max(slowest.get(key, 0.0), float(row["seconds"]))
    return [
        seconds - slowest[number, "train"] - slowest[number, "val"]
        for number, seconds in rounds.items()
        if number > 1
    ]


def measure(federation: LocalFederation, coordinator: Coordinator, job: JobSpec) -> list[float]:
    """Run the job to its end and return its overheads."""
    name = coordinator.submit(job)
    for event in coordinator.follow(name):
        print(
            f"  {event.kind} {event.round or ''} {event.site} {event.data.get('reason', '')}", file=sys.stderr
        )
    return overheads(federation.folder / "coordinator" / "runs" / name)


class PastTheQueue(Coordinator):
    """Runs that are begun at once: the coordinator's queue would begin them with its own apps."""

    def submit(self, job: JobSpec, project: str | None = None, priority: Priority = "normal") -> str:
        """Start a new run; returns its name once its folder is there."""
        name = run_name(job)
        with self._connect() as flower:
            flower.start(job.canonical(), name, researcher="", resume=False, project=DEFAULT_PROJECT)
        while not (self._runs / name / EVENTS).exists():
            time.sleep(0.1)
        return name


def flower_runs(federation: LocalFederation) -> Coordinator:
    """Return the runs of the coordinator, as apps that know nothing of our mailbox and bell."""

    def connect() -> Runs:
        return Runs(federation.superlink, "flower_apps:server", "flower_apps:client")

    folder = federation.folder / "coordinator"
    return PastTheQueue(folder / "runs", connect, operator_audit(folder))


def start_supernode(
    federation: LocalFederation, site: str, port: int, superlink: tuple[int, Path]
) -> subprocess.Popen[bytes]:
    """Start Flower's own SuperNode for a site."""
    folder = federation.folder / site
    key = load_pem_private_key((folder / "keys" / "site.key").read_bytes(), None)
    private = folder / "keys" / "supernode.key"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("flower-supernode")),
            *("--superlink", f"127.0.0.1:{superlink[0]}"),
            *("--root-certificates", str(superlink[1])),
            *("--auth-supernode-private-key", str(private)),
            *("--port", str(port)),
        ],
        env={
            **os.environ,
            "WARDROUND_SITE": str(folder / "site.toml"),
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.DEVNULL,
        stderr=(folder / "supernode.log").open("wb"),
    )


def main() -> None:
    """Measure, print, and exit with 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one site, few rounds; held to no figure")
    parser.add_argument("--without-flower", action="store_true", help="leave Flower's own SuperNodes out")
    options = parser.parse_args()
    sites, rounds = (SITES[:1], 2) if options.quick else (SITES, 9)
    job = make_job(rounds, len(sites))
    size = Layout.of(build_model(job)).size * 4 / 1e6
    result: dict[str, Any] = {**conditions(), "sites": len(sites), "model_mb": round(size, 2)}
    with tempfile.TemporaryDirectory() as scratch, LocalFederation(Path(scratch)) as federation:
        manifest = make_phantom("phantom-brain", Path(scratch) / "phantom", 1)
        for site in sites:
            federation.enrol(site, {"phantom-brain": manifest})
            federation.start(site)
        federation.await_sites()
        ours = measure(federation, federation.runs(), job)
        result["wardround_s"] = round(median(ours), 3)
        if not options.without_flower:
            for site in sites:
                federation.stop(site)
            with tls_door(Path(scratch), federation.superlink) as door:
                nodes = [
                    start_supernode(federation, site, 29100 + number, door)
                    for number, site in enumerate(sites)
                ]
                try:
                    short = make_job(2, len(sites))
                    result["flower_s"] = round(median(measure(federation, flower_runs(federation), short)), 3)
                finally:
                    for node in nodes:
                        node.terminate()
                        node.wait()
    table = Table(title="seconds a round beyond the slowest site's work")
    table.add_column("engine")
    table.add_column("seconds", justify="right")
    table.add_row(f"Wardround (goal: below {GOAL})", str(result["wardround_s"]))
    table.add_row("Flower's SuperNodes and Grid", str(result.get("flower_s", "not measured")))
    Console().print(table)
    met = result["wardround_s"] < GOAL
    missed = [] if met else [f"deployment overhead: {result['wardround_s']} s instead of {GOAL}"]
    finish("deployment_overhead", {**result, "goal_s": GOAL}, missed, quick=options.quick)


if __name__ == "__main__":
    main()
