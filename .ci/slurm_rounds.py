"""Runs of a federation whose one site trains on Slurm: what `.ci/slurm` starts, once there is a cluster."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from client.workers.batch_worker import TAKEN
from client.workers.calls import HEAD
from client.workers.message_files import read_call
from server.runs.local import Coordinator
from shared.audit.verify import entries, verify
from shared.job.schema import JobSpec, load_job
from shared.pki.certificates import load_key
from simulate.data.phantom import make_phantom
from simulate.federation.processes import LocalFederation
from simulate.session.session import Hospitals, execute, start

PROJECT = Path(__file__).resolve().parents[1]
HERE, SLURM = "north", "south"
OPTIONS = ["--partition=gpu", "--time=1", "--mem=2G"]  # a minute
DEVICE = f'\n[device]\nlauncher = "slurm"\noptions = {OPTIONS}\n'


def main() -> None:
    """Let the cluster do its worst, and say what came of it."""
    work = Path(sys.argv[1])
    job = quickstart(3)
    manifest = make_phantom(job.job.dataset, work / "images", job.job.seed)
    with LocalFederation(work) as federation:
        for site in (HERE, SLURM):
            federation.enrol(site, {job.job.dataset: manifest}, seed=job.job.seed)
        site_file = work / SLURM / "site.toml"
        text = site_file.read_text(encoding="utf-8").replace("\n[device]\n", DEVICE)
        site_file.write_text(text, encoding="utf-8")
        shown = subprocess.run(
            [sys.executable, "-m", "wardround", "client", "check", "--dir", str(work / SLURM)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        print(next(line for line in shown.splitlines() if "device" in line))
        keep_books_from_node(work / SLURM)
        for site in (HERE, SLURM):
            federation.start(site)
        federation.await_sites()
        runs = federation.runs()
        try:
            for trial in (same_bits, cancelled, lost_node, out_of_time):
                if trial.__name__ in (sys.argv[2:] or trial.__name__):
                    trial(runs, work)
        except BaseException:
            print(federation.log(SLURM)[-4000:])
            print((work / SLURM / "state" / "jobs" / "worker.log").read_text(encoding="utf-8")[-3000:])
            raise
    left = jobs()
    hold(not left, f"jobs outlive their service: {left}")
    print("no job outlives the service")


def keep_books_from_node(site: Path) -> None:
    """Leave the node no more of the site's folder than a job needs: no log, and of the keys one.

    Whoever opens a log there, which each book comes with, would make another one.
    """
    (site / "audit").mkdir(exist_ok=True)
    key = site / "keys" / "cohort.key"
    script = f'''set -e
        cp "{key}" "{site}/one.key"
        mount -t tmpfs node "{site}/audit"
        mount -t tmpfs -o mode=0700 node "{site}/keys"
        mv "{site}/one.key" "{key}"'''
    subprocess.run(in_node("sh", "-c", script), check=True)


def in_node(*command: str) -> list[str]:
    """Return the command that does something among the files that the node sees."""
    return ["nsenter", "--mount", "--target", os.environ["NODE"], *command]


def hold(found: bool, words: object) -> None:
    """End with words where something does not hold."""
    if not found:
        raise RuntimeError(words)


def quickstart(rounds: int) -> JobSpec:
    """Return the job of the quickstart with that many rounds, which goes on with one site."""
    changes = {"job.rounds": rounds, "strategy.min_sites": 1}
    return load_job(PROJECT / "configs" / "jobs" / "quickstart.toml", changes)


def same_bits(runs: Coordinator, work: Path) -> None:
    """The model is the one that a simulation gives."""
    job = quickstart(3)
    name, events = followed(runs, job)
    hold("site_failed" not in {event.kind for event in events}, events)
    deployed = runs.fetch(name, work / "fetched")
    hospitals = Hospitals(files=[work / site / "site.toml" for site in (HERE, SLURM)])
    simulated = start(job, hospitals, work / "simulated", "cpu", baselines=False)
    execute(simulated, "in-process", Console(file=io.StringIO()))
    models = [(run / "model.safetensors").read_bytes() for run in (deployed, simulated.path)]
    hold(models[0] == models[1], "another model than simulated")
    site = work / SLURM
    hold(verify(site / "audit", load_key(site / "keys" / "site.key").public_key()) == [], "the log is broken")
    trained = [entry for entry in entries(site / "audit") if entry.fields.get("phase") == "train"]
    hold(len(trained) == job.job.rounds, f"{len(trained)} trainings in the log")
    seen = subprocess.run(
        in_node("ls", f"{site}/audit", f"{site}/keys"), check=True, capture_output=True, text=True
    )
    hold(seen.stdout.split()[1:] == [f"{site}/keys:", "cohort.key"], seen.stdout)
    print("on Slurm, on a node without the site's books and key: the simulated model, bit for bit")


def cancelled(runs: Coordinator, work: Path) -> None:
    """A job that somebody cancels costs its site what was asked, and the run nothing."""
    name, events = followed(runs, quickstart(8), once_taken(work, lambda: cancel(jobs())))
    failed = [event for event in events if event.kind == "site_failed"]
    hold([event.site for event in failed] == [SLURM], failed)
    hold("CANCELLED" in str(failed[0].data), failed)
    hold(runs.look(name).row.status == "finished", "the run did not finish")
    later = [event for event in events[events.index(failed[0]) :] if event.site == SLURM]
    hold(len(later) > 1, "the site did not come back")
    print(f"cancelled: {failed[0].data}; the run finished, and the site came back")


def lost_node(runs: Coordinator, work: Path) -> None:
    """A node that is lost costs nothing but time: the call goes to a new job."""

    def lose() -> None:
        host = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
        change = ["scontrol", "update", f"nodename={host}", "reason=trial"]
        subprocess.run([*change, "state=down"], check=True)
        for _ in range(60):  # its job must have gone first
            time.sleep(1.0)
            resumed = subprocess.run([*change, "state=resume"], check=False, capture_output=True)
            if resumed.returncode == 0 or not is_down():  # it may have come back by itself: ReturnToService=2
                return
        raise RuntimeError("the node does not come back")

    name, events = followed(runs, quickstart(6), once_taken(work, lose))
    hold("site_failed" not in {event.kind for event in events}, events)
    hold(runs.look(name).row.status == "finished", "the run did not finish")
    print("node lost: asked for again, nothing failed")


def out_of_time(runs: Coordinator, work: Path) -> None:
    """A warm job whose time ends in the midst of a round is followed by another."""
    before = (work / SLURM / "state" / "jobs" / "worker.log").stat().st_size
    begun, rounds = time.monotonic(), 0
    while time.monotonic() - begun < 75.0:
        _, events = followed(runs, quickstart(10))
        hold("site_failed" not in {event.kind for event in events}, events)
        rounds += 10
    said = (work / SLURM / "state" / "jobs" / "worker.log").read_bytes()[before:].decode()
    hold("DUE TO TIME LIMIT" in said, said[-2000:])
    print(f"out of time: {rounds} rounds over the end of a job's minute, nothing failed")


def followed(runs: Coordinator, job: JobSpec, do: Callable[[], None] | None = None) -> tuple[str, list]:
    """Submit a job and return its events; what is to be done meanwhile is done in its second round."""
    name, events = runs.submit(job), []
    for event in runs.follow(name):
        events.append(event)
        if do is not None and event.kind == "round_finished":
            do, done = None, do
            done()
    return name, events


def once_taken(work: Path, do: Callable[[], None]) -> Callable[[], None]:
    """Do something while the worker of the cluster is at work on a call; a question of a moment is none."""

    def is_work(path: Path) -> bool:
        try:
            return read_call(path).kind != HEAD
        except OSError:  # answered meanwhile
            return False

    def wait_and_do() -> None:
        for _ in range(2000):
            if any(map(is_work, (work / SLURM / "state" / "jobs").glob(f"*/{TAKEN}-*"))):
                do()
                return
            time.sleep(0.005)
        raise AssertionError("no call was taken")

    return wait_and_do


def is_down() -> bool:
    """Say whether the node is down or still being cleared."""
    said = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=True)
    return any(state in said.stdout for state in ("down", "completing", "drain"))


def jobs() -> list[str]:
    """Return the numbers of the jobs that Slurm has."""
    said = subprocess.run(["squeue", "--noheader", "--format=%A"], capture_output=True, text=True, check=True)
    return said.stdout.split()


def cancel(numbers: list[str]) -> None:
    """Cancel jobs, as an administrator does."""
    subprocess.run(["scancel", *numbers], check=True)


if __name__ == "__main__":
    main()
