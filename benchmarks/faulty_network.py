"""The network of one site of three is cut for a minute, slow, or long: does the run finish?

A coordinator as in real life, three nodes as threads, one of them behind a line
(`simulate/federation/faulty_line.py`) that stops forwarding for 60 s in the middle of a round, carries 1
Mbit/s each way, or takes 300 ms each way. A model of 1.5 MB. Misses when a run does not finish, or the site
is not back 90 s after the line was mended.

    python benchmarks/faulty_network.py [--quick]
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

from common import conditions, finish, make_job, rows_of, write_hospitals  # noqa: E402

from client.training.device import open_device  # noqa: E402
from client.work.warm_networks import Workshop  # noqa: E402
from shared.job.schema import JobSpec  # noqa: E402
from simulate.federation.faulty_line import Line  # noqa: E402
from simulate.federation.light_nodes import LightHost, LightNode  # noqa: E402
from simulate.federation.processes import LocalFederation  # noqa: E402

NEAR, FAR = ("site-000", "site-001"), "site-002"
SIDE = 32
BACK = 90.0  # seconds after which the site must be online again
MBIT = 1e6 / 8  # bytes


@dataclass(frozen=True)
class Fault:
    """What is wrong with the line.

    Attributes:
        cut: Seconds for which nothing passes, from the first training on.
        rate: Bytes per second.
        delay: Seconds each way.
    """

    name: str
    cut: float = 0.0
    rate: float | None = None
    delay: float = 0.0


FULL = (
    Fault("none"),
    Fault("cut for 60 s", cut=60.0),
    Fault("1 Mbit/s", rate=MBIT),
    Fault("300 ms each way", delay=0.3),
    Fault("1 Mbit/s and 300 ms, cut for 15 s", cut=15.0, rate=MBIT, delay=0.3),
)
QUICK = (Fault("20 Mbit/s and 20 ms, cut for 1 s", cut=1.0, rate=20 * MBIT, delay=0.02),)


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        rounds: In which the site behind the line has trained.
        longest: Seconds of the longest round.
        back: Seconds until the site was online, from the end of the run.
    """

    status: str
    seconds: float
    rounds: int
    longest: float
    back: float


def job_of(rounds: int) -> JobSpec:
    """Return a job with a model of 1.5 MB that goes on with two sites."""
    return make_job(
        job_name="faulty",
        job_rounds=rounds,
        model={"name": "unet", "channels": [16, 32, 62, 120]},
        data={"size": [SIDE, SIDE]},
        training={"local_steps": 2, "batch_size": 2},
        strategy={"name": "fedavg", "min_sites": 2, "round_timeout": 300.0},
        evaluation=None,
    )


def suffer(federation: LocalFederation, line: Line, fault: Fault, rounds: int) -> Outcome:
    """Run the job over a line with a fault; the line is whole again afterwards."""
    line.rate, line.delay = fault.rate, fault.delay
    runs, start = federation.runs(), time.monotonic()
    run = runs.submit(job_of(rounds))
    mending = threading.Timer(fault.cut, line.mend)
    for event in runs.follow(run):
        reason = event.data.get("reason", "")
        print(
            f"  {time.monotonic() - start:.1f} {event.kind} {event.round} {event.site} {reason}",
            file=sys.stderr,
        )
        if event.kind == "round_started" and event.round == 1 and fault.cut:
            line.cut()
            mending.start()
    seconds = time.monotonic() - start
    if fault.cut:
        mending.join()
    line.rate, line.delay = None, 0.0
    back = seconds_until(lambda: federation.is_online(FAR))
    [row] = [row for row in runs.list() if row.name == run]
    folder = federation.folder / "coordinator" / "runs" / run
    trained = [
        line for line in table_of(folder / "sites.csv") if (line["site"], line["phase"]) == (FAR, "train")
    ]
    longest = max((float(line["seconds"]) for line in table_of(folder / "metrics.csv")), default=0.0)
    return Outcome(row.status, seconds, len(trained), longest, back)


def seconds_until(condition: Callable[[], bool]) -> float:
    """Return how long it took, infinity where it took too long."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > BACK:
            return float("inf")
        time.sleep(0.5)
    return time.monotonic() - start


def table_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a run's table; none where it was never written."""
    return rows_of(path) if path.exists() else []


def main() -> None:
    """Measure, print, and exit with 1 when a run does not finish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run; held to no figure")
    quick = parser.parse_args().quick
    faults, rounds = (QUICK, 2) if quick else (FULL, 4)
    before = conditions()
    make_host = partial(LightHost, workshop=Workshop(open_device("cpu")), turn=threading.Lock())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        manifest = write_hospitals(Path(name) / "images", 3, 4, SIDE, ("train", "train", "val", "test"))
        federation = stack.enter_context(LocalFederation(Path(name)))
        line = stack.enter_context(Line("127.0.0.1", federation.sites_port))
        for site in (*NEAR, FAR):
            folder = federation.enrol(site, {"discs": manifest})
            if site == FAR:
                federation.reroute(site, line.port)
            stack.enter_context(LightNode(folder, make_host))
        federation.await_online({*NEAR, FAR})
        outcomes = {fault.name: suffer(federation, line, fault, rounds) for fault in faults}
    table = Table("network of one site", title=f"{rounds} rounds with 3 sites, at least 2 in each")
    for heading in ("run", "seconds", "longest round", "rounds of the site", "back after s"):
        table.add_column(heading, justify="right")
    for fault, one in outcomes.items():
        figures = (f"{one.seconds:.0f}", f"{one.longest:.1f}", f"{one.rounds} of {rounds}", f"{one.back:.0f}")
        table.add_row(fault, one.status, *figures)
    Console().print(table)
    missed = [f"{fault}: the run {one.status}" for fault, one in outcomes.items() if one.status != "finished"]
    missed += [f"{fault}: the site is not back" for fault, one in outcomes.items() if one.back > BACK]
    result: dict[str, Any] = {fault: vars(one) for fault, one in outcomes.items()}
    finish("faulty_network", {**before, "rounds": rounds, "faults": result}, missed, quick=quick)


if __name__ == "__main__":
    main()
