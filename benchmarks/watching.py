"""Fifty browsers watch one run of twenty sites: how soon do they see a round, and at what cost?

A coordinator as in real life, twenty nodes as threads of one process, and browsers as connections of another,
which log in and read the events of the run's page. They come for some rounds and go again, in turn, so that
rounds with and without them are of the same run. Prints how long after a round's end the browsers have it,
the cores that the coordinator takes for it, and how long rounds are; misses when a page comes later than 1 s
(95 of 100 times), takes a core, or makes rounds longer by 5 %.

    python benchmarks/watching.py [--quick]    # --quick: a small one, held to no figure
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

from common import conditions, finish, make_job, write_hospitals  # noqa: E402

from client.training.device import open_device  # noqa: E402
from client.work.warm_networks import Workshop  # noqa: E402
from server.folder.coordinator import load_settings  # noqa: E402
from server.registry.access import open_registry  # noqa: E402
from shared.job.schema import JobSpec  # noqa: E402
from simulate.federation.light_nodes import LightHost, LightNode  # noqa: E402
from simulate.federation.processes import LocalFederation  # noqa: E402

LATENCY, CORES, SLOWER = 1.0, 1.0, 1.05
SIDE, PEOPLE = 48, 5


@dataclass(frozen=True)
class Plan:
    """How much to run: blocks of rounds, the first without browsers, the next with them, and so on."""

    sites: int
    browsers: int
    block: int
    blocks: int
    steps: int

    @property
    def rounds(self) -> int:
        """How many there are."""
        return self.block * self.blocks

    def is_watched(self, round_: int) -> bool:
        """Say whether browsers watch a round."""
        return (round_ - 1) // self.block % 2 == 1


FULL = Plan(sites=20, browsers=50, block=6, blocks=12, steps=12)
QUICK = Plan(sites=3, browsers=6, block=6, blocks=2, steps=30)


def job_of(plan: Plan) -> JobSpec:
    """Return a job of short rounds that are evaluated."""
    return make_job(
        job_name="watched",
        job_rounds=plan.rounds,
        data={"size": [SIDE, SIDE]},
        training={"local_steps": plan.steps, "batch_size": 4},
        strategy={"name": "fedavg", "min_sites": plan.sites, "round_timeout": 300.0},
    )


class Others:
    """The process of the browsers, see `browsers.py`; a context manager."""

    def __init__(self, url: str, ca: Path, tokens: list[str]) -> None:
        command = [sys.executable, "-c", "import browsers; browsers.serve()"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.seen: list[tuple[int, float]] = []
        self.bytes = 0
        self._ask(url=url, ca=str(ca), tokens=tokens)

    def __enter__(self) -> "Others":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @contextmanager
    def watching(self, run: str, count: int) -> Iterator[None]:
        """Let browsers come to the page of a run, and go again."""
        self._ask(run=run, count=count)
        try:
            yield
        finally:
            found = self._ask(leave=True)
            self.seen += [(done, at) for done, at in found["seen"]]
            self.bytes += found["bytes"]

    def _ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


def pages_cpu(gateway: psutil.Process) -> float:
    """Return the processor seconds of the gateway and of the process that draws for it."""
    used = sum(gateway.cpu_times()[:2])
    for child in gateway.children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if "server.web.draw_process" in child.cmdline():
                used += sum(child.cpu_times()[:2])
    return float(used)


def main() -> None:
    """Measure, print, and exit with 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sites and browsers; held to no figure")
    quick = parser.parse_args().quick
    plan = QUICK if quick else FULL
    result: dict[str, Any] = {**conditions(), "sites": plan.sites, "browsers": plan.browsers}
    make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())
    cores: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        coordinator = folder / "coordinator"
        manifest = write_hospitals(folder / "images", plan.sites, 8, SIDE, ("train", "train", "val", "test"))
        federation = stack.enter_context(LocalFederation(folder))
        names = [f"site-{number:03d}" for number in range(plan.sites)]
        for site in names:
            stack.enter_context(LightNode(federation.enrol(site, {"discs": manifest}), make_host))
        federation.await_online(set(names))
        with open_registry(coordinator) as registry:
            tokens = [registry.add_person(f"person-{number}", "viewer") for number in range(PEOPLE)]
        url = f"https://127.0.0.1:{load_settings(coordinator).server.people_port}"
        gateway = psutil.Process(federation.processes["coordinator"].pid)
        others = stack.enter_context(Others(url, coordinator / "ca" / "ca.crt", tokens))
        runs = federation.runs()
        run = runs.submit(job_of(plan))
        with ExitStack() as block:
            started, used = time.monotonic(), pages_cpu(gateway)
            for event in runs.follow(run):
                if event.kind == "round_finished" and event.round % plan.block == 0:
                    watched = plan.is_watched(event.round)
                    cores[watched].append((pages_cpu(gateway) - used) / (time.monotonic() - started))
                    block.close()
                    if event.round < plan.rounds and not watched:
                        block.enter_context(others.watching(run, plan.browsers))
                    started, used = time.monotonic(), pages_cpu(gateway)
        [row] = [row for row in runs.list() if row.name == run]
        figures(plan, coordinator / "runs" / run, others, result)
    result |= {"status": row.status, "cores": median(cores[True]), "cores_unwatched": median(cores[False])}
    show(result)
    finish("watching", result, missed_of(result), quick=quick)


def figures(plan: Plan, run: Path, others: Others, result: dict[str, Any]) -> None:
    """Add how late browsers were, and how long rounds."""
    ended = {
        line["round"]: datetime.fromisoformat(line["time"]).timestamp()
        for line in map(json.loads, (run / "events.jsonl").read_text(encoding="utf-8").splitlines())
        if line["event"] == "round_finished"
    }
    late = [at - ended[done] for done, at in others.seen]
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rounds = {int(row["round"]): float(row["seconds"]) for row in csv.DictReader(file)}
    # The first round of a block has browsers that come or go in it.
    lengths = {
        watched: [
            seconds
            for round_, seconds in rounds.items()
            if plan.is_watched(round_) == watched and round_ % plan.block != 1
        ]
        for watched in (True, False)
    }
    result |= {
        "updates": len(late),
        "late_median": median(late),
        "late_95": quantiles(late, n=20)[-1],
        "late_worst": max(late),
        "bytes_per_browser_and_round": others.bytes / len(late),
        "round_seconds": median(lengths[True]),
        "round_seconds_unwatched": median(lengths[False]),
        "slower": median(lengths[True]) / median(lengths[False]),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table(title=f"{result['browsers']} browsers watch a run of {result['sites']} sites")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, key, unit in (
        ("from a round's end to the page, median", "late_median", " s"),
        ("95 of 100 within", "late_95", " s"),
        ("worst", "late_worst", " s"),
        ("cores of gateway and drawing", "cores", ""),
        ("the same, unwatched", "cores_unwatched", ""),
        ("a round, watched", "round_seconds", " s"),
        ("a round, unwatched", "round_seconds_unwatched", " s"),
        ("watched : unwatched", "slower", ""),
    ):
        table.add_row(what, f"{result[key]:.3f}{unit}")
    Console().print(table)


def missed_of(result: dict[str, Any]) -> list[str]:
    """Return the figures that are missed."""
    missed = [] if result["status"] == "finished" else [f"the run {result['status']}"]
    if result["late_95"] > LATENCY:
        missed.append(f"pages come {result['late_95']:.2f} s late")
    if result["cores"] > CORES:
        missed.append(f"the coordinator takes {result['cores']:.2f} cores")
    if result["slower"] > SLOWER:
        missed.append(f"rounds take {result['slower']:.3f} times as long")
    return missed


if __name__ == "__main__":
    main()
