"""No cap is passed and nothing forgotten, whatever happens to processes, files and clocks."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.guard.budget import lines
from client.guard.ledger import EVENT, LEDGER, Ledger
from client.guard.ledger_entry import LedgerEntry, Round
from client.settings.policy import BudgetError, Cap
from shared.audit.log import AuditLog
from shared.audit.verify import entries, verify
from shared.errors import SiteError
from shared.pki.certificates import new_key, save_key
from shared.privacy.accounting import Steps, epsilon_of
from tests.shared.privacy.test_accounting import USUAL_ORDERS, by_opacus
from tests.work import calls_of

PROJECT = Path(__file__).parents[3]
PROCESSES = Path(__file__).with_name("ledger_processes.py")
DELTA = 1e-5
STEPS = Steps(1.1, 0.02, 50)
START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = new_key()
RACES = 60


class Clock:
    """A machine's clock that a test can turn."""

    def __init__(self) -> None:
        self.day = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(days=self.day)


def cap(rounds: float, days: int | None = None) -> Cap:
    """Return a cap under which so many rounds fit, or for 0 none."""
    fit = epsilon_of([Steps(STEPS.noise_multiplier, STEPS.sample_rate, int(STEPS.steps * rounds))], DELTA)
    return Cap(epsilon=max(fit, 0.01), delta=DELTA, days=days)


def asked(round_: int = 1, job: str = "a", steps: Steps = STEPS, unit: str = "patient") -> Round:
    return Round("marks", job * 64, "7", round_, unit, steps)


def ledger_in(folder: Path, clock: Clock | None = None, key: ec.EllipticCurvePrivateKey = KEY) -> Ledger:
    return Ledger(folder / LEDGER, AuditLog.open(folder / "audit", key), clock or Clock())


def audited(folder: Path) -> list[LedgerEntry]:
    assert verify(folder / "audit", KEY.public_key()) == []
    return [LedgerEntry.read(entry.fields) for entry in entries(folder / "audit") if entry.event == EVENT]


def test_what_was_spent_counts_on_the_most_honest_sites_of_any_round(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    ledger.reserve(asked(1), cap(4), DELTA)
    ledger.reserve(replace(asked(1, "b"), honest_sites=3), cap(4), DELTA)
    assert [line.honest_sites for line in lines(ledger, {"marks": cap(4), "other": cap(4)})] == [3, 1, 3, 1]


def rounds_in(ledger: Ledger) -> int:
    return sum(account.rounds for account in ledger.accounts())


def test_rounds_of_all_jobs_and_after_a_restart_count_until_the_cap(tmp_path: Path) -> None:
    limit = cap(4)
    first = ledger_in(tmp_path)
    spent = [first.reserve(asked(1), limit, DELTA), first.reserve(asked(1, "b"), limit, DELTA)]
    again = ledger_in(tmp_path)
    spent += [again.reserve(asked(2), limit, DELTA), again.reserve(asked(2), limit, DELTA)]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(limit.epsilon)
    with pytest.raises(BudgetError, match=r"policy\.privacy: 'marks' .* 0\.00 is left") as caught:
        again.reserve(asked(3), limit, DELTA)
    assert caught.value.rule == "policy.privacy"
    assert [(account.job[0], account.rounds) for account in again.accounts()] == [("a", 3), ("b", 1)]
    assert len(audited(tmp_path)) == 4


def test_a_smaller_round_may_fit_where_a_larger_one_did_not(tmp_path: Path) -> None:
    ledger, limit = ledger_in(tmp_path), cap(2.5)
    ledger.reserve(asked(1), limit, DELTA)
    with pytest.raises(BudgetError):
        ledger.reserve(asked(2, steps=Steps(1.1, 0.02, 100)), limit, DELTA)
    ledger.reserve(asked(2), limit, DELTA)
    assert rounds_in(ledger) == 2


def test_a_dataset_without_a_cap_is_recorded_and_datasets_do_not_mix(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    alone = ledger.reserve(asked(1), None, DELTA)
    other = Round("lungs", "b" * 64, "7", 1, "patient", STEPS)
    assert ledger.reserve(other, cap(1), DELTA) == alone
    assert ledger.reserve(asked(2), None, DELTA) > alone


def test_units_are_not_added_to_each_other(tmp_path: Path) -> None:
    ledger, limit = ledger_in(tmp_path), cap(5)
    ledger.reserve(asked(1, unit="image"), None, DELTA)
    with pytest.raises(BudgetError, match="another unit"):
        ledger.reserve(asked(1), limit, DELTA)


STRETCHES = st.builds(
    Steps,
    noise_multiplier=st.sampled_from([0.8, 1.1, 4.0]),
    sample_rate=st.sampled_from([0.01, 0.2]),
    steps=st.integers(1, 500),
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(STRETCHES, st.sampled_from("abc"), st.booleans()), min_size=1, max_size=8))
def test_the_ledger_says_what_opacus_says(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[Steps, str, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger, history = ledger_in(folder), []
    for number, (steps, job, restart) in enumerate(rounds):
        ledger = ledger_in(folder) if restart else ledger
        spent = ledger.reserve(asked(number, job, steps), None, DELTA)
        history.append(steps)
        bound, _ = by_opacus(history, DELTA, USUAL_ORDERS)
        assert spent == pytest.approx(bound, abs=1e-3) or spent < min(bound, 0.3)  # beyond Opacus's orders


def test_a_period_frees_what_is_older(tmp_path: Path) -> None:
    clock = Clock()
    ledger, limit = ledger_in(tmp_path, clock), cap(1, days=30)
    ledger.reserve(asked(1), limit, DELTA)
    clock.day = 30
    with pytest.raises(BudgetError, match="in 30 days"):
        ledger.reserve(asked(2), limit, DELTA)
    clock.day = 30.1
    ledger.reserve(asked(2), limit, DELTA)


def test_a_clock_that_goes_back_frees_nothing(tmp_path: Path) -> None:
    clock = Clock()
    limit = cap(1, days=30)
    ledger_in(tmp_path, clock).reserve(asked(1), limit, DELTA)
    clock.day = 20
    with pytest.raises(BudgetError):  # moves the ledger's time, too
        ledger_in(tmp_path, clock).reserve(asked(2), limit, DELTA)
    clock.day = 31
    ledger_in(tmp_path, clock).reserve(asked(2), limit, DELTA)
    clock.day = -400  # if the second round were written down for this day, day 32 would be free for a third
    with pytest.raises(BudgetError):
        ledger_in(tmp_path, clock).reserve(asked(3), limit, DELTA)
    for day in (32, 61):
        clock.day = day
        with pytest.raises(BudgetError):
            ledger_in(tmp_path, clock).reserve(asked(3), limit, DELTA)
    clock.day = 61.1
    ledger_in(tmp_path, clock).reserve(asked(3), limit, DELTA)
    moments = [entry.moment for entry in audited(tmp_path)]
    assert moments == sorted(moments)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=10))
def test_no_period_holds_more_than_the_cap_however_the_clock_jumps(
    tmp_path_factory: pytest.TempPathFactory, days: list[float]
) -> None:
    folder, clock, limit = tmp_path_factory.mktemp("ledger"), Clock(), cap(2, days=30)
    latest, taken = -1000.0, []
    for number, day in enumerate(days):
        clock.day = day
        latest = max(latest, day)
        try:
            ledger_in(folder, clock).reserve(asked(number), limit, DELTA)
        except BudgetError:
            assert sum(latest - when < 29.9 for when in taken) >= 1  # something recent is in the way
        else:
            taken.append(latest)
        assert sum(latest - when < 29.9 for when in taken) <= 2


def restore(folder: Path, backup: Path) -> None:
    for name in (LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(backup, folder / LEDGER)


def test_an_old_backup_is_found_and_repaired_from_the_audit_log(tmp_path: Path) -> None:
    ledger, limit = ledger_in(tmp_path), cap(5)
    ledger.reserve(asked(1), limit, DELTA)
    shutil.copy(tmp_path / LEDGER, tmp_path / "backup")
    spent = [ledger.reserve(asked(number), limit, DELTA) for number in (2, 3, 4)][-1]
    restore(tmp_path, tmp_path / "backup")
    for opened in (ledger, ledger_in(tmp_path)):  # one that has run all the time, and one that starts now
        with pytest.raises(BudgetError, match="old backup") as caught:
            opened.reserve(asked(5), limit, DELTA)
        assert "client budget repair" in (caught.value.remedy or "")
    ledger.repair(audited(tmp_path))
    ledger.check()
    assert epsilon_of(ledger.history("marks", "patient"), DELTA) == pytest.approx(spent)
    ledger.reserve(asked(5), limit, DELTA)
    with pytest.raises(BudgetError, match=r"0\.00 is left"):
        ledger.reserve(asked(6), limit, DELTA)


def test_a_ledger_that_was_removed_is_missed(tmp_path: Path) -> None:
    ledger_in(tmp_path).reserve(asked(1), None, DELTA)
    (tmp_path / LEDGER).unlink()
    with pytest.raises(BudgetError, match="old backup"):
        ledger_in(tmp_path).reserve(asked(2), None, DELTA)


@pytest.mark.parametrize(
    "change", ["UPDATE spent SET steps = 1 WHERE sequence = 2", "DELETE FROM spent WHERE sequence = 2"]
)
def test_an_edited_ledger_is_found(tmp_path: Path, change: str) -> None:
    ledger = ledger_in(tmp_path)
    for number in (1, 2, 3):
        ledger.reserve(asked(number), None, DELTA)
    with sqlite3.connect(tmp_path / LEDGER) as db:
        db.execute(change)
    db.close()
    with pytest.raises(BudgetError, match="entry 2 of the site's ledger was changed"):
        ledger_in(tmp_path).reserve(asked(4), None, DELTA)
    ledger_in(tmp_path).repair(audited(tmp_path))
    assert rounds_in(ledger_in(tmp_path)) == 3


def test_an_audit_log_with_gaps_repairs_nothing(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    for number in (1, 2, 3):
        ledger.reserve(asked(number), None, DELTA)
    with pytest.raises(SiteError, match="lacks ledger entry 1"):
        ledger.repair(audited(tmp_path)[1:])
    assert rounds_in(ledger) == 3


def test_nothing_is_admitted_that_the_audit_log_does_not_have(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    ledger.reserve(asked(1), None, DELTA)
    shutil.move(tmp_path / "audit", tmp_path / "archive")  # as if its disk were away
    with pytest.raises(Exception, match="audit log can't be written"):
        ledger.reserve(asked(2), None, DELTA)
    shutil.move(tmp_path / "archive", tmp_path / "audit")
    ledger.reserve(asked(3), None, DELTA)
    assert [entry.sequence for entry in audited(tmp_path)] == list(range(1, rounds_in(ledger) + 1))


def test_a_long_history_is_cheap(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    steps = [Steps(0.8 + job / 50, 0.02, 40) for job in range(20)]
    last, history = None, []
    for number in range(5000):
        last = LedgerEntry.after(
            last, START.isoformat(timespec="milliseconds"), asked(steps=steps[number % 20])
        )
        history.append(last)
    ledger.repair(history)
    AuditLog.open(tmp_path / "audit", KEY).append(EVENT, **history[-1].record())
    ledger.reserve(asked(1), cap(1e5), DELTA)  # the accountant meets each kind of step once
    assert calls_of(lambda: ledger.reserve(asked(2), cap(1e5), DELTA)) < 12_000  # not one for each round


def site_folder(folder: Path) -> Path:
    folder.mkdir()
    save_key(folder / "site.key", KEY)
    AuditLog.open(folder / "audit", KEY)
    return folder


def processes(*arguments: object, limit: Cap) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROCESSES), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "CAP": json.dumps(limit.model_dump())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_eight_processes_race_for_the_last_budget(tmp_path: Path) -> None:
    limit = cap(3)
    folders = [site_folder(tmp_path / f"{number}") for number in range(RACES)]
    with processes("race", *folders, limit=limit) as racers:
        assert racers.wait(timeout=500) == 0
    for folder in folders:
        assert (folder / "trained").stat().st_size == 3
        assert rounds_in(ledger_in(folder)) == len(audited(folder)) == 3


@pytest.mark.slow
def test_killed_at_any_point_nothing_is_lost(tmp_path: Path) -> None:
    limit = cap(25)
    generator = np.random.default_rng(1)
    folders = (site_folder(tmp_path / f"{number}") for number in range(40))
    folder, trained, full = next(folders), 0, 0
    with processes("serve", limit=limit) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for _ in range(40):
            print(folder, file=server.stdin, flush=True)
            child, begun = int(server.stdout.readline()), time.monotonic()
            rounds, line = int(generator.integers(1, 4)), "trained\n"
            for _ in range(rounds):
                line = server.stdout.readline() if line == "trained\n" else line
                trained += line == "trained\n"
            one = (time.monotonic() - begun) / rounds
            time.sleep(generator.uniform(0, one))  # waits for nothing: this is the random point
            os.kill(child, signal.SIGKILL)
            rest = list(iter(server.stdout.readline, f"ended {-signal.SIGKILL}\n"))
            trained += rest.count("trained\n")
            ledger = ledger_in(folder)
            recorded = rounds_in(ledger)
            assert trained <= len(audited(folder)) <= recorded <= 25
            assert epsilon_of(ledger.history("marks", "patient"), DELTA) <= limit.epsilon + 1e-9
            if "full\n" in {line, *rest}:
                assert recorded == 25
                folder, trained, full = next(folders), 0, full + 1
        server.stdin.close()
    assert full >= 1
