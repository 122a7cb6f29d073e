"""Two hundred people watch runs while a hundred sites ask for work: how long do others wait?

A coordinator as in real life. The sites are nodes as threads of one process, each with its own certificate
and connection; the watched runs are folders in which an event is written four times a second. Meanwhile
somebody asks who they are, what runs there are, and what one of them does. Prints how long these answers and
the events take; misses when the median answer takes more than 0.3 s, or one takes more than 2 s.

    python benchmarks/many_watchers.py [--quick]    # --quick: a small one, held to no figure
"""

import argparse
import asyncio
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
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
from server.runs.folder import RunFolder  # noqa: E402
from shared.job.schema import JobSpec  # noqa: E402
from simulate.federation.light_nodes import LightHost, LightNode  # noqa: E402
from simulate.federation.processes import LocalFederation  # noqa: E402

RUNS, PEOPLE = 4, 5  # that are watched, and who watch
BETWEEN_EVENTS, BETWEEN_QUESTIONS = 0.25, 0.05  # seconds
SHAKING = 16  # watchers that connect at once: fewer than handshakes that one address may have under way
MEDIAN, WORST = 0.3, 2.0  # seconds that an answer may take


def job_of(name: str) -> JobSpec:
    """Return a job for a run that is only watched."""
    return make_job(job_name=name)


@contextmanager
def running(folder: Path) -> Iterator[list[str]]:
    """Make runs in which something happens all the time; gives their names."""
    runs = [RunFolder.create(folder, job_of("watched"), f"watched-{number}") for number in range(RUNS)]
    end = threading.Event()

    def write() -> None:
        while not end.wait(BETWEEN_EVENTS):
            for run in runs:
                run.event("round_started", written=time.time())

    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.lock())
        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield [run.path.name for run in runs]
        finally:
            end.set()
            thread.join()


class People:
    """Those who watch, and one who asks.

    Args:
        port: Of the people's listener.
        context: Trusts the coordinator.
        tokens: Of the people.
    """

    def __init__(self, port: int, context: ssl.SSLContext, tokens: list[str]) -> None:
        self._port = port
        self._context = context
        self._tokens = tokens
        self._door = asyncio.Semaphore(SHAKING)
        self.lateness: list[float] = []
        self.waits: list[float] = []
        self.watching = 0

    async def watch(self, who: int, run: str) -> None:
        """Watch a run until cancelled."""
        let_in = None
        async for line in self._lines(self._tokens[who % len(self._tokens)], run):
            now = time.time()
            let_in = let_in or now
            if line["written"] >= let_in:  # what was written before comes at once, however old
                self.lateness.append(now - line["written"])

    async def ask(self, run: str) -> None:
        """Ask one question after the other until cancelled."""
        headers = {"authorization": f"Bearer {self._tokens[0]}"}
        url = f"https://127.0.0.1:{self._port}/v1"
        async with httpx.AsyncClient(verify=self._context, headers=headers, timeout=60.0) as client:
            while True:
                for path in ("me", "runs", f"runs/{run}"):
                    start = time.monotonic()
                    (await client.get(f"{url}/{path}")).raise_for_status()
                    self.waits.append(time.monotonic() - start)
                    await asyncio.sleep(BETWEEN_QUESTIONS)

    async def _lines(self, token: str, run: str) -> AsyncIterator[dict[str, Any]]:
        async with self._door:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
            head = f"GET /v1/runs/{run}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"refused: {status!r}")
        self.watching += 1
        try:
            while content := await reader.readline():
                if content.startswith(b'{"number"'):  # between them stand the lengths of chunks
                    line = json.loads(content)["line"]
                    if "written" in line:
                        yield line
        finally:
            self.watching -= 1
            writer.close()


async def measure(people: People, watchers: int, runs: list[str], seconds: float) -> None:
    """Let all come, and stay so long after the last one is there."""
    asking = asyncio.create_task(people.ask(runs[0]))
    tasks = [asyncio.create_task(people.watch(who, runs[who % RUNS])) for who in range(watchers)]
    while people.watching < watchers:
        await asyncio.sleep(0.1)
        for task in (asking, *tasks):
            if task.done():
                task.result()
    await asyncio.sleep(seconds)
    if people.watching < watchers:
        raise RuntimeError(f"{watchers - people.watching} of those who watched were cut off")
    for task in (asking, *tasks):
        task.cancel()
    await asyncio.gather(asking, *tasks, return_exceptions=True)


def main() -> None:
    """Measure, print, and exit with 1 when somebody waits too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sites and people; held to no figure")
    quick = parser.parse_args().quick
    sites, watchers, seconds = (3, 12, 2.0) if quick else (100, 200, 30.0)
    result: dict[str, Any] = {**conditions(), "sites": sites, "watchers": watchers}
    make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        manifest = write_hospitals(folder / "images", sites, 2, 16, ("train", "val"))
        federation = stack.enter_context(LocalFederation(folder))
        coordinator = folder / "coordinator"
        names = [f"site-{number:03d}" for number in range(sites)]
        for site in names:
            stack.enter_context(LightNode(federation.enrol(site, {"discs": manifest}), make_host))
        federation.await_online(set(names))
        with open_registry(coordinator) as registry:
            tokens = [
                registry.add_person(f"person-{number}", "viewer") for number in range(1 + watchers // 40)
            ]
        runs = stack.enter_context(running(coordinator / "runs"))
        context = ssl.create_default_context(cafile=coordinator / "ca" / "ca.crt")
        people = People(load_settings(coordinator).server.people_port, context, tokens)
        gateway, start = psutil.Process(federation.processes["coordinator"].pid), time.monotonic()
        used = sum(gateway.cpu_times()[:2])
        asyncio.run(measure(people, watchers, runs, seconds))
        used = (sum(gateway.cpu_times()[:2]) - used) / (time.monotonic() - start)
        gone = [site for site in names if not federation.is_online(site)]
    figures = {"answers": people.waits, "events": people.lateness}
    table = Table(title=f"{watchers} watch {RUNS} runs, {sites} sites ask for work")
    for column in ("what", "median s", "worst s"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, waits in figures.items():
        result[what] = {"count": len(waits), "median": median(waits), "worst": max(waits)}
        table.add_row(f"{len(waits)} {what}", f"{median(waits):.3f}", f"{max(waits):.2f}")
    table.add_row("cores that the gateway took", f"{used:.2f}", "")
    result["gateway_cores"] = used
    Console().print(table)
    missed = [f"{site} is offline" for site in gone]
    if median(people.waits) > MEDIAN or max(people.waits) > WORST:
        missed.append(
            f"answers took {median(people.waits):.2f} s (median), {max(people.waits):.2f} s (worst)"
        )
    finish("many_watchers", result, missed, quick=quick)


if __name__ == "__main__":
    main()
