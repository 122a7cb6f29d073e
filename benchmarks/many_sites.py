"""Many sites on few cores: does memory grow from round to round, or the server's with the number of sites?

First a federation of 100 sites runs for 20 rounds, evaluated after each, and the memory of every process is
read after each round. Then a larger model (25 MB) is trained by few and by many sites: FedAvg adds
each update as it arrives, so the server's peak must not depend on how many there are.

    python benchmarks/many_sites.py [--quick] [--sites 1000 --rounds 3]

With `--sites` the first of the two alone, with so many sites; it is held to no figure.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from common import apart, conditions, finish, write_hospitals
from rich.console import Console
from rich.table import Table

GROWTH_LIMIT = 0.25  # MiB a round, of any process, over the second half of the rounds
PEAK_LIMIT = 2.0  # updates by which the server's peak may differ between few sites and many
SIDE = 16
MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """How much to run."""

    sites: int
    rounds: int
    few: int
    many: int
    workers: int
    channels: tuple[int, ...]  # of the larger model


FULL = Plan(sites=100, rounds=20, few=4, many=64, workers=2, channels=(64, 128, 256, 512))
QUICK = Plan(sites=12, rounds=6, few=3, many=8, workers=1, channels=(16, 32, 64))


@dataclass(frozen=True)
class Round:
    """What a round took, and the memory after it."""

    seconds: float
    server: float  # MiB, resident
    workers: list[float]  # MiB, resident


@dataclass(frozen=True)
class Peak:
    """The server's memory over a whole run."""

    update: float  # MiB of one update
    server: float  # MiB, resident, at its highest


def main() -> None:
    """Measure, print the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, held to no figure")
    parser.add_argument("--sites", type=int, help="of the first part, which is then the only one")
    parser.add_argument("--rounds", type=int, help="of the first part")
    options = parser.parse_args()
    quick, plan = options.quick, QUICK if options.quick else FULL
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    before = conditions()
    if options.sites is not None:
        finish("many_sites", {**before, **many(replace(plan, sites=options.sites))}, [], quick=quick)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, rounds = apart(watch_rounds, plan, folder)
        peaks = {sites: apart(watch_peak, plan, sites, folder) for sites in (plan.few, plan.many)}
    console = Console()
    console.print(table_of_rounds(plan, rounds), table_of_peaks(peaks))
    growth = max(slopes(rounds))
    more = (peaks[plan.many].server - peaks[plan.few].server) / peaks[plan.few].update
    missed = [f"memory grows by {growth:.2f} MiB a round"] if growth > GROWTH_LIMIT else []
    if more > PEAK_LIMIT:
        missed.append(f"the server needs {more:.1f} updates more with {plan.many} sites than with {plan.few}")
    figures: dict[str, Any] = {
        "sites": plan.sites,
        "round_seconds": round(median(one.seconds for one in rounds), 3),
        "growth_mib_per_round": round(growth, 3),
        "server_mib": [round(one.server, 1) for one in rounds],
        "update_mib": round(peaks[plan.few].update, 1),
        "peak_server_mib": {sites: round(peak.server, 1) for sites, peak in peaks.items()},
    }
    finish("many_sites", {**before, **figures}, missed, quick=quick)


def many(plan: Plan) -> dict[str, Any]:
    """Run the first part with so many sites; print it and return its figures."""
    with tempfile.TemporaryDirectory() as name:
        start, rounds = apart(watch_rounds, plan, Path(name))
    Console().print(table_of_rounds(plan, rounds))
    return {
        "sites": plan.sites,
        "seconds_to_first_round": round(start, 1),
        "round_seconds": [round(one.seconds, 2) for one in rounds],
        "server_mib": [round(one.server, 1) for one in rounds],
        "workers_mib": [[round(value, 1) for value in one.workers] for one in rounds],
    }


# These run in processes of their own; only there is PyTorch imported.


def watch_rounds(plan: Plan, folder: Path) -> tuple[float, list[Round]]:
    """Run many sites; return the seconds to the first round, and what each round took."""
    import wardround_engine  # noqa: PLC0415

    from server.runs.events import Event  # noqa: PLC0415

    manifest = write_hospitals(folder / "many", plan.sites, 4, SIDE, ("train", "train", "val", "test"))
    process = psutil.Process()
    rounds: list[Round] = []
    begun: dict[int, float] = {}  # a round is written, and then finished, while the next one runs

    def listen(event: Event) -> None:
        if event.kind == "round_started":
            begun[event.round] = time.monotonic()
        if event.kind == "round_finished":
            # In order of age; those that are forked are no children of this process.
            pids = sorted(worker.pid for worker in multiprocessing.active_children() if worker.pid)
            workers = [psutil.Process(pid).memory_info().rss / MIB for pid in pids]
            server = process.memory_info().rss / MIB
            rounds.append(Round(time.monotonic() - begun[event.round], server, workers))

    job = wardround_engine.tiny_job(SIDE, (4, 8), plan.rounds)
    start = time.monotonic()
    wardround_engine.simulate(job, manifest, plan.workers, folder / "runs", listen)
    return begun[1] - start, rounds


def watch_peak(plan: Plan, sites: int, folder: Path) -> Peak:
    """Run the larger model at so many sites and return the server's peak."""
    import wardround_engine  # noqa: PLC0415

    manifest = write_hospitals(folder / f"sites-{sites}", sites, 2, SIDE)
    job = wardround_engine.tiny_job(SIDE, plan.channels, 2)
    run = wardround_engine.simulate(job, manifest, plan.workers, folder / "runs", lambda _: None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB
    return Peak((run.path / "model.safetensors").stat().st_size / MIB, peak)


def slopes(rounds: list[Round]) -> list[float]:
    """Return the growth of each process, MiB a round, over the second half of the rounds."""
    half = rounds[len(rounds) // 2 :]
    series = [[one.server for one in half], *zip(*(one.workers for one in half), strict=True)]
    return [(values[-1] - values[0]) / (len(half) - 1) for values in series]


def table_of_rounds(plan: Plan, rounds: list[Round]) -> Table:
    """Return a row for some of the rounds."""
    table = Table("round", title=f"{plan.sites} sites, {plan.workers} at a time")
    for heading in ("seconds", "server MiB", "workers MiB"):
        table.add_column(heading, justify="right")
    for number in sorted({*range(0, len(rounds), max(1, len(rounds) // 5)), len(rounds) - 1}):
        one = rounds[number]
        workers = ", ".join(f"{value:.1f}" for value in one.workers)
        table.add_row(str(number + 1), f"{one.seconds:.2f}", f"{one.server:.1f}", workers)
    return table


def table_of_peaks(peaks: dict[int, Peak]) -> Table:
    """Return a row for each number of sites."""
    table = Table("sites", title="Peak memory of the server")
    for heading in ("update MiB", "server MiB"):
        table.add_column(heading, justify="right")
    for sites, peak in peaks.items():
        table.add_row(str(sites), f"{peak.update:.1f}", f"{peak.server:.1f}")
    return table


if __name__ == "__main__":
    main()
