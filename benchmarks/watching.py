"""Fifty browsers watch one run of twenty sites: how soon do they see a round, and at what cost?

A coordinator as in real life, twenty nodes as threads of one process, and browsers as connections of another,
which log in and read the events of the run's page. They come for some rounds and go again, in turn, so that
rounds with and without them are of the same run. Prints how long after a round's end the browsers have it,
the cores that the coordinator takes for it, and how long rounds are; misses when a page comes later than 1 s
(95 of 100 times), takes a core, or makes rounds longer by 5 %.

    python benchmarks/watching.py [--quick]    # --quick: a small one, held to no figure
"""

import argparse
import asyncio
import csv
import json
import multiprocessing
import os
import re
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
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
SIDE, PEOPLE, SHAKING = 48, 5, 16
_DONE = re.compile(r"<dd>(\d+) of \d+</dd>")


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


FULL = Plan(sites=20, browsers=50, block=6, blocks=8, steps=12)
QUICK = Plan(sites=3, browsers=6, block=3, blocks=2, steps=1)


def job_of(plan: Plan) -> JobSpec:
    """Return a job of short rounds that are evaluated."""
    return make_job(
        job_name="watched",
        job_rounds=plan.rounds,
        data={"size": [SIDE, SIDE]},
        training={"local_steps": plan.steps, "batch_size": 4},
        strategy={"name": "fedavg", "min_sites": plan.sites, "round_timeout": 300.0},
    )


@dataclass(frozen=True)
class Page:
    """The page of a run: the coordinator's address, the file of its authority, the run's name."""

    url: str
    ca: Path
    run: str


class Browsers:
    """Connections that read the live parts of a run's page.

    Args:
        page: Which.
    """

    def __init__(self, page: Page) -> None:
        self._url, self._run = page.url, page.run
        self._context = ssl.create_default_context(cafile=page.ca)
        self._door = asyncio.Semaphore(SHAKING)
        self.watching = 0
        self.seen: list[tuple[int, float]] = []
        self.bytes = 0

    async def look(self, tokens: list[str], count: int, stop: Signal, ready: Signal) -> None:
        """Log in, open the pages and read until told to stop."""
        cookies = [await self._log_in(token) for token in tokens]
        tasks = [asyncio.create_task(self._read(cookies[number % len(cookies)])) for number in range(count)]
        while self.watching < count:
            await asyncio.sleep(0.05)
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.1)
        if self.watching < count:
            raise RuntimeError(f"{count - self.watching} browsers were cut off")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _log_in(self, token: str) -> str:
        async with httpx.AsyncClient(verify=self._context, timeout=60) as client:
            form = {"token": token, "next": "/"}
            answer = await client.post(f"{self._url}/log-in", data=form, headers={"origin": self._url})
            return answer.headers["set-cookie"].rpartition("__Host-wardround=")[2].partition(";")[0]

    async def _read(self, cookie: str) -> None:
        async with self._door:
            port = int(self._url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self._context, limit=2**24)
            head = (
                f"GET /runs/{self._run}/live HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: __Host-wardround={cookie}"
            )
            writer.write(f"{head}\r\n\r\n".encode())
            if b" 200 " not in (status := await reader.readline()):
                raise RuntimeError(f"refused: {status!r}")
        self.watching += 1
        known = -1
        try:
            while line := await reader.readline():
                self.bytes += len(line)
                if line.startswith(b"data: ") and (
                    found := _DONE.search(json.loads(line[6:]).get("now", ""))
                ):
                    done = int(found[1])
                    if known >= 0 and done > known:  # what was there when it came is not new
                        self.seen.append((done, time.time()))
                    known = done
        finally:
            self.watching -= 1
            writer.close()


def browse(
    page: Page, tokens: list[str], count: int, signals: tuple[Signal, Signal], pipe: Connection
) -> None:
    """Be the process of the browsers; it gives way to the others, as browsers are other machines."""
    os.nice(19)
    browsers = Browsers(page)
    asyncio.run(browsers.look(tokens, count, *signals))
    pipe.send((browsers.seen, browsers.bytes))


@contextmanager
def browsing(page: Page, tokens: list[str], count: int, out: list[Any]) -> Iterator[None]:
    """Let browsers watch; adds what they have seen to `out`."""
    context = multiprocessing.get_context("spawn")
    stop, ready = context.Event(), context.Event()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=browse, args=(page, tokens, count, (stop, ready), theirs))
    process.start()
    if not ready.wait(60):
        raise RuntimeError("the browsers did not come")
    try:
        yield
    finally:
        stop.set()
        out.append(ours.recv())
        process.join()


def pages_cpu(gateway: psutil.Process) -> float:
    """Return the processor seconds of the gateway and of the process that draws for it."""
    drawing = [one for one in gateway.children() if "server.web.draw_process" in one.cmdline()]
    return sum(sum(process.cpu_times()[:2]) for process in (gateway, *drawing))


def main() -> None:
    """Measure, print, and exit with 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sites and browsers; held to no figure")
    quick = parser.parse_args().quick
    plan = QUICK if quick else FULL
    result: dict[str, Any] = {**conditions(), "sites": plan.sites, "browsers": plan.browsers}
    make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())
    seen: list[Any] = []
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
        runs = federation.runs()
        run = runs.submit(job_of(plan))
        page = Page(url, coordinator / "ca" / "ca.crt", run)
        watch = partial(browsing, page, tokens, plan.browsers, seen)
        with ExitStack() as block:
            started, used = time.monotonic(), pages_cpu(gateway)
            for event in runs.follow(run):
                if event.kind == "round_finished" and event.round % plan.block == 0:
                    watched = plan.is_watched(event.round)
                    cores[watched].append((pages_cpu(gateway) - used) / (time.monotonic() - started))
                    block.close()
                    if event.round < plan.rounds and not watched:
                        block.enter_context(watch())
                    started, used = time.monotonic(), pages_cpu(gateway)
        [row] = [row for row in runs.list() if row.name == run]
        figures(plan, coordinator / "runs" / run, seen, result)
    result |= {"status": row.status, "cores": median(cores[True]), "cores_unwatched": median(cores[False])}
    show(result)
    finish("watching", result, missed_of(result), quick=quick)


def figures(plan: Plan, run: Path, seen: list[Any], result: dict[str, Any]) -> None:
    """Add how late browsers were, and how long rounds."""
    ended = {
        line["round"]: datetime.fromisoformat(line["time"]).timestamp()
        for line in map(json.loads, (run / "events.jsonl").read_text(encoding="utf-8").splitlines())
        if line["event"] == "round_finished"
    }
    late = [at - ended[done] for of_block, _ in seen for done, at in of_block]
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
        "bytes_per_browser_and_round": sum(size for _, size in seen) / max(len(late), 1),
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
