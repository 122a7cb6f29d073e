"""Processes that reserve rounds, forked from one that has everything loaded. Run by test_ledger.py.

    race FOLDER...   eight processes ask each folder's ledger for one round at the same moment
    serve            for each folder on standard input, a process that asks for rounds until it is killed

Racers that may train say so in the folder's file `trained`, one byte each. The others print their number,
then a line for each round that they may train, `full` when they may not, and last how they ended.
"""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from client.guard.ledger import LEDGER, Ledger
from client.guard.ledger_entry import Round
from client.settings.policy import BudgetError, Cap
from shared.audit.log import AuditLog
from shared.pki.certificates import load_key
from shared.privacy.accounting import Steps, epsilon_of

RACERS = 8
STEPS = Steps(1.1, 0.02, 50)
CAP = Cap.model_validate(json.loads(os.environ["CAP"]))


def ledger_of(folder: Path) -> Ledger:
    return Ledger(folder / LEDGER, AuditLog.open(folder / "audit", load_key(folder / "site.key")))


def may_train(ledger: Ledger, job: int, round_: int) -> bool:
    try:
        ledger.reserve(Round("marks", f"{job:064x}", "1", round_, "patient", STEPS), CAP, CAP.delta)
    except BudgetError:
        return False
    return True


def race(folders: list[Path]) -> None:
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(RACERS)

    def run(number: int) -> None:
        for folder in folders:
            ledger = ledger_of(folder)
            barrier.wait()
            if may_train(ledger, number, 1):
                handle = os.open(folder / "trained", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(handle, b".")
                os.close(handle)

    racers = [fork.Process(target=run, args=(number,)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    sys.exit(max(racer.exitcode for racer in racers))


def say(what: object) -> None:
    """Write a line in one go: who is killed must not leave half of one, as `print` can do unbuffered."""
    os.write(sys.stdout.fileno(), f"{what}\n".encode())


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say(os.getpid())
            ledger, round_ = ledger_of(Path(line.strip())), 1
            while may_train(ledger, 1, round_):
                say("trained")
                round_ += 1
            say("full")
            signal.pause()
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    epsilon_of([STEPS], CAP.delta)
    if sys.argv[1] == "race":
        race([Path(name) for name in sys.argv[2:]])
    else:
        serve()
