"""A federation under faults, for as long as it is told: is anything lost, does memory grow?

    python .ci/soak.py --minutes 120 [--seed N]

A coordinator and three hospitals are processes of their own, each hospital behind a line; a job runs again
and again. Meanwhile, at random: any process is killed, lines are cut or slow, the coordinator's disk is
full, the clock of one of them is turned, a certificate is renewed, a backup is taken. What ends is started
again, as systemd would; a run that was broken off is approved again and resumed. Exits with 1 where a
model is another one than that of a simulation without faults, a run does not come to its end, an audit log
is broken, the last backup can't be restored, or memory grows by more than a quarter. A disk can be filled
as root alone; clocks are turned where there is a C compiler, for one process each (`stepped_clock.c`), as
others may be at work on the machine.
"""

import argparse
import io
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import psutil
from rich.console import Console
from soak_machine import Clocked, small_disk

from client.guard.job_book import JobBook
from client.settings.enrolment import renew
from server.audit.log import operator_audit
from server.folder.backup import backup, restore
from server.folder.coordinator import load_settings
from server.service.check import check_coordinator
from shared.audit.verify import verify
from shared.errors import WardroundError
from shared.job.schema import JobSpec, load_job
from shared.pki.certificates import load_key
from simulate.data.phantom import make_phantom
from simulate.federation.faulty_line import Line
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).resolve().parents[1]
SITES = ("north", "south", "east")
ROUNDS = 3
PAUSES = (0.5, 1.5)  # between faults, in what a run takes without any: some rounds must fit in between
STEPS = (-7200, -600, -60, 60, 600, 7200)  # seconds by which a clock is turned
PATIENCE = 900.0  # seconds without a round after which a run is stuck
T = TypeVar("T")
GROWTH = 1.25  # of memory, from the first third of the runs to the last
LEAST = 5  # runs in a third by which growth is told: a service that was just killed has less
WARM_UP = 2  # runs whose memory is not looked at


@dataclass
class Soak:
    """What is being tried, and what came of it."""

    federation: Clocked
    lines: dict[str, Line]
    dice: random.Random
    end: threading.Event = field(default_factory=threading.Event)
    calm: threading.Event = field(default_factory=threading.Event)  # set once there are no more faults
    done: dict[str, int] = field(default_factory=dict)  # faults, by kind
    reasons: dict[str, int] = field(default_factory=dict)  # why runs were broken off
    problems: list[str] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)  # MB by process, after each run
    lock: threading.RLock = field(default_factory=threading.RLock)  # of the federation's processes

    @property
    def folder(self) -> Path:
        """The coordinator's folder."""
        return self.federation.folder / "coordinator"

    def faults(self, usual: float) -> None:
        """Do one fault after the other, until the end; a run usually takes so many seconds."""
        kinds: list[Callable[[], None]] = [
            *(self.kill_service, self.kill_worker, self.kill_superlink, self.kill_run, self.kill_coordinator),
            *(self.cut, self.slow, self.fill_disk, self.turn_clock, self.renew, self.back_up),
        ]
        while not self.calm.wait(usual * self.dice.uniform(*PAUSES)):
            kind = self.dice.choice(kinds)
            print(f"  {time.strftime('%H:%M:%S')} {kind.__name__}", file=sys.stderr, flush=True)
            with suppress(psutil.NoSuchProcess):
                try:
                    kind()
                except WardroundError as error:  # the coordinator is just not there
                    print(f"  {kind.__name__}: {error.problem}", file=sys.stderr)
            self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1

    def kill_service(self) -> None:
        """Kill a hospital's service."""
        self._process(self.dice.choice(SITES)).kill()

    def kill_worker(self) -> None:
        """Kill what trains at a hospital."""
        self._kill_one(self._process(self.dice.choice(SITES)).children(recursive=True))

    def kill_superlink(self) -> None:
        """Kill Flower's process."""
        self._kill_one(self._named("flower-superlink"))

    def kill_run(self) -> None:
        """Kill the processes of runs."""
        self._kill_one(self._named("flwr-serverapp"))

    def kill_coordinator(self) -> None:
        """Kill the coordinator's service."""
        self._process("coordinator").kill()

    def cut(self) -> None:
        """Let nothing pass between a hospital and the coordinator."""
        line = self.lines[self.dice.choice(SITES)]
        line.cut()
        self.calm.wait(self.dice.uniform(1.0, 15.0))
        line.mend()

    def slow(self) -> None:
        """Let little pass, and late."""
        line = self.lines[self.dice.choice(SITES)]
        line.rate, line.delay = self.dice.uniform(2e4, 2e5), self.dice.uniform(0.0, 0.5)
        self.calm.wait(self.dice.uniform(5.0, 15.0))
        line.rate, line.delay = None, 0.0

    def fill_disk(self) -> None:
        """Leave no room on the coordinator's disk for a while."""
        if not self.folder.is_mount():
            return
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(2**20))
                file.flush()
        self.calm.wait(self.dice.uniform(2.0, 8.0))
        filler.unlink()

    def turn_clock(self) -> None:
        """Turn the clock of a hospital or of the coordinator for a while."""
        if not self.federation.library.exists():
            return
        name = self.dice.choice(("coordinator", *SITES))
        self.federation.turn(name, self.dice.choice(STEPS))
        self.calm.wait(self.dice.uniform(5.0, 20.0))
        self.federation.turn(name, 0)

    def renew(self) -> None:
        """Renew a hospital's certificate, with a new key: that need not wait until it is due."""
        renew(self.federation.folder / self.dice.choice(SITES), change_key=True)

    def back_up(self) -> None:
        """Take a backup in the midst of all this; the one before goes."""
        new, kept = self.federation.folder / "new.tar.gz", self.federation.folder / "backup.tar.gz"
        new.unlink(missing_ok=True)
        backup(self.folder, new, operator_audit(self.folder), include_keys=True)
        new.replace(kept)

    def keep_alive(self) -> None:
        """Start what has ended, as systemd does."""
        while not self.end.wait(1.0):
            with self.lock:
                ended = [name for name, one in self.federation.processes.items() if one.poll() is not None]
                for name in ended:
                    del self.federation.processes[name]
                    try:
                        if name == "coordinator":
                            self.federation.start_coordinator()
                        else:
                            self.federation.start(name)
                    except WardroundError as error:
                        print(f"  {name} does not start: {error}", file=sys.stderr)
                        self.federation.processes.setdefault(name, subprocess.Popen(["/bin/false"]))

    def run(self, job: JobSpec, expected: bytes, out: Path) -> None:
        """Bring a run to its end, and compare its model."""
        runs = _insist(self.federation.runs)
        name = _insist(lambda: runs.submit(job))
        seen, since = -1, time.monotonic()
        while (row := _insist(lambda: runs.look(name).row)).status != "finished":
            if row.round != seen:
                seen, since = row.round, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                self.problems.append(f"{name}: no round for {PATIENCE:.0f} s ({row.status}, {row.reason})")
                with suppress(WardroundError):
                    runs.stop(name)
                return
            if row.status in {"failed", "interrupted", "stopped"}:
                reason = row.reason or "no reason given"
                self.reasons[reason] = self.reasons.get(reason, 0) + 1
                self.approve(job)
                with suppress(WardroundError):  # it may go on by itself by now; the next look says so
                    runs.resume(name)
            time.sleep(0.5)
        model = (_insist(lambda: runs.fetch(name, out)) / "model.safetensors").read_bytes()
        if model != expected:
            self.problems.append(f"{name}: another model than without faults")
        _insist(lambda: runs.remove(name))

    def approve(self, job: JobSpec) -> None:
        """Let each hospital approve a job again: it answers a round that was broken off once more."""
        for site in SITES:
            JobBook(self.federation.folder / site / "state.sqlite").decide(job.digest(), "approved", "soak")

    def measure(self) -> None:
        """Note the memory of each service with all that it has started."""
        with self.lock:
            found = {}
            for name in self.federation.processes:
                with suppress(psutil.NoSuchProcess):
                    process = self._process(name)
                    all_of_it = [process, *process.children(recursive=True)]
                    found[name] = sum(one.memory_info().rss for one in all_of_it) / 1e6
            self.memory.append(found)

    def _process(self, name: str) -> psutil.Process:
        with self.lock:
            return psutil.Process(self.federation.processes[name].pid)

    def _named(self, word: str) -> list[psutil.Process]:
        children = self._process("coordinator").children(recursive=True)
        return [one for one in children if word in " ".join(one.cmdline())]

    def _kill_one(self, processes: list[psutil.Process]) -> None:
        if processes:
            self.dice.choice(processes).kill()


def _insist(ask: Callable[[], T]) -> T:
    """Ask until there is an answer: a full disk and a coordinator that starts refuse for a while."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except (WardroundError, OSError):
            if time.monotonic() > last:
                raise
        time.sleep(0.5)


def job_of(number: int) -> JobSpec:
    """Return a job of which every round needs all hospitals, so that faults can't change the model.

    A hospital answers a request of a job so often and no more, so each run has a job of its own.
    """
    changes = {
        "job.name": f"soak-{number}",
        "job.rounds": ROUNDS,
        "model.channels": [4, 8, 16],
        "data.size": [32, 32],
        "training.local_epochs": 1,
        "strategy.min_sites": len(SITES),
    }
    return load_job(PROJECT / "configs" / "jobs" / "quickstart.toml", changes)


def grown(memory: list[dict[str, float]]) -> Iterator[str]:
    """Yield whose memory has grown from the first third of the runs to the last."""
    seen = memory[WARM_UP:]
    third = len(seen) // 3
    for name in ("coordinator", *SITES) if third else ():
        first, last = (
            median(found[name] for found in part if name in found) for part in (seen[:third], seen[-third:])
        )
        print(f"memory of {name}: {first:.0f} MB at first, {last:.0f} MB at last")
        if third >= LEAST and last > GROWTH * first:
            yield f"memory of {name} grew from {first:.0f} to {last:.0f} MB"


def main() -> None:
    """Let it soak, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, ExitStack() as stack:
        work = Path(name)
        job = job_of(0)
        manifest = make_phantom(job.job.dataset, work / "images", job.job.seed)
        stack.enter_context(small_disk(work / "coordinator"))
        federation = stack.enter_context(Clocked(work))
        lines = {}
        for site in SITES:
            federation.enrol(site, {job.job.dataset: manifest}, seed=job.job.seed)
            lines[site] = stack.enter_context(Line("127.0.0.1", federation.sites_port))
            federation.reroute(site, lines[site].port)
            federation.start(site)
        federation.await_sites()
        soak = Soak(federation, lines, random.Random(options.seed))  # noqa: S311  (faults, and no keys)
        runs = soak_for(soak, options.minutes * 60, work)
        soak.problems += after(soak)
    print(f"{runs} runs of {ROUNDS} rounds; faults: {soak.done}; broken off and resumed: {soak.reasons}")
    soak.problems += grown(soak.memory)
    sys.exit("\n".join(soak.problems) if soak.problems else 0)


def soak_for(soak: Soak, seconds: float, work: Path) -> int:
    """Run the job again and again under faults; returns how often. The first two and the last have none."""
    hospitals = Hospitals(files=[work / site / "site.toml" for site in SITES])

    def run(number: int) -> None:
        job = job_of(number)
        simulated = start(job, hospitals, work / "simulated", "cpu", baselines=False)
        execute(simulated, "in-process", Console(file=io.StringIO()))
        expected = (simulated.path / "model.safetensors").read_bytes()
        soak.run(job, expected, work / f"fetched-{number}")
        soak.measure()
        print(f"{number} runs, {sum(soak.done.values())} faults, {soak.problems or 'all well'}", flush=True)

    run(1)  # loads what the next ones find
    begun, last, count = time.monotonic(), time.monotonic() + seconds, 2
    run(count)
    faults = threading.Thread(target=soak.faults, args=(time.monotonic() - begun,))
    alive = threading.Thread(target=soak.keep_alive)
    for thread in (faults, alive):
        thread.start()
    try:
        while time.monotonic() < last:
            count += 1
            run(count)
        soak.calm.set()
        faults.join()
        count += 1
        run(count)
    finally:
        for event, thread in ((soak.calm, faults), (soak.end, alive)):
            event.set()
            thread.join()
    return count


def after(soak: Soak) -> Iterator[str]:
    """Yield what is wrong when all is over: broken logs, a backup that is none, a traceback in a log."""
    for site in SITES:
        folder = soak.federation.folder / site
        problems = verify(folder / "audit", load_key(folder / "keys" / "site.key").public_key())
        yield from (f"audit log of {site}: {problem}" for problem in problems)
    yield from (
        f"the coordinator's check: {finding.what}: {finding.detail}"
        for finding in check_coordinator(soak.folder)
        if finding.state == "failure" and "port" not in finding.what and finding.what != "disk"  # a small one
    )
    kept = soak.federation.folder / "backup.tar.gz"
    if kept.exists():
        restored = soak.federation.folder / "restored"
        restore(kept, restored)
        if load_settings(restored).server.name != load_settings(soak.folder).server.name:
            yield "the backup is another federation's"
    for name in ("coordinator", *SITES):
        count = soak.federation.log(name).count("Traceback")
        if count:
            print(f"log of {name}: {count} tracebacks")


if __name__ == "__main__":
    main()
