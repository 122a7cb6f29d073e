"""The coordinator's log tells the lives of its runs."""

import logging

import pytest

from server.runs.folder import RunFolder
from server.runs.life import at_work
from server.runs.run_log import RunLog
from shared.errors import RunError


def test_the_log_tells_the_life_of_each_run_once(tmp_path, tiny_job, caplog):
    caplog.set_level(logging.INFO, logger="server.runs.run_log")
    old = RunFolder.create(tmp_path, tiny_job(), "old", "brain")
    old.event("run_waiting", **{"for": "alpha"})
    old.describe(status="stopped")
    log = RunLog(tmp_path)  # what was before the service began is told no more
    run = RunFolder.create(tmp_path, tiny_job(), "new", "brain", status="queued", researcher="ada")
    log.look()

    def fail() -> None:
        with at_work(run, resume=False):
            run.event("run_started", sites=2, rounds=3)
            run.event("site_failed", site="alpha", round=1, phase="train", reason="no memory")
            log.look()
            log.look()
            raise RunError("round 1: 1 site returned an update, the job needs 2")

    with pytest.raises(RunError):
        fail()
    log.look()
    with at_work(old, resume=True):
        log.look()
    log.look()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "run new (brain, ada): is submitted"),
        ("INFO", "run new (brain, ada): begins, with 2 sites and 3 rounds"),
        ("WARNING", "run new (brain, ada): round 1: alpha failed: no memory"),
        ("ERROR", "run new (brain, ada): has failed: round 1: 1 site returned an update, the job needs 2"),
        ("INFO", "run old (brain): goes on"),
        ("INFO", "run old (brain): is finished"),
    ]
    told = caplog.records[2].about
    assert told == {
        "run": "new",
        "project": "brain",
        "researcher": "ada",
        "event": "site_failed",
        "site": "alpha",
        "round": 1,
        "phase": "train",
        "reason": "no memory",
    }
