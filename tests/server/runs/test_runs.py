"""The folder of a run: what it holds, who may open it, what a kill may leave in it."""

import contextlib
import csv
import json
import math
import os
import signal
import subprocess

import httpx
import numpy as np
import pytest

from server.runs import killed
from server.runs.checkpoint import Checkpoint
from server.runs.folder import RunFolder
from server.runs.life import at_work, note_stopped
from shared.errors import RunError
from shared.flower import RunStopped
from shared.run_folder import RunRecord

VECTOR = np.zeros(3, dtype=np.float32)


@pytest.fixture
def run(tmp_path, tiny_job) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", tiny_job())


def rows(run: RunFolder, name: str) -> list[dict[str, str]]:
    with (run.path / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_new_run_knows_its_job(run, tiny_job):
    again = RunFolder.open(run.path)
    assert again.job == tiny_job()
    assert run.read_description()["digest"] == tiny_job().digest()
    assert not run.has_begun()


def test_two_runs_of_a_job_have_two_folders(tmp_path, tiny_job):
    assert RunFolder.create(tmp_path, tiny_job()).path != RunFolder.create(tmp_path, tiny_job()).path


def test_it_is_opened_for_its_own_job_alone(run, tiny_job):
    RunFolder.open(run.path, tiny_job())
    with pytest.raises(RunError, match="another job"):
        RunFolder.open(run.path, tiny_job(job_seed=6))


def test_a_run_of_a_later_version_is_refused_and_one_from_before_numbers_is_read(run):
    run.describe(format=99)
    with pytest.raises(RunError, match=r"later version of Wardround \(form 99"):
        RunRecord.read(run.path)
    run.describe(format=None)
    assert RunRecord.read(run.path).job == run.job


def test_one_process_at_a_time(run):
    with run.lock(), pytest.raises(RunError, match="another process"), RunFolder.open(run.path).lock():
        pass
    with run.lock():
        pass


def test_errors_of_the_work_are_not_the_folders(run):
    with pytest.raises(BrokenPipeError), run.lock():
        raise BrokenPipeError


def test_a_finished_run_is_not_opened(run):
    with at_work(run, resume=False):
        pass
    assert run.status == "finished"
    assert run.read_description()["finished"] >= run.read_description()["started"]
    with pytest.raises(RunError, match="finished"):
        RunFolder.open(run.path)


def test_whoever_is_at_work_is_seen_and_alone(run):
    with at_work(run, resume=False):
        assert RunRecord.read(run.path).status == "running"
        with pytest.raises(RunError, match="another process"), at_work(run, resume=True):
            pass
        assert run.status == "running"


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (RunError("no site is there", where="tiny"), "failed", "tiny: no site is there"),
        (ZeroDivisionError("by nothing"), "failed", "ZeroDivisionError: by nothing"),
        (KeyboardInterrupt(), "stopped", "by Ctrl-C"),
        (RunStopped(), "stopped", None),
        (httpx.ConnectError("the SuperLink is gone"), "interrupted", "Flower's SuperLink ended"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_run_says_how_it_ended_and_why_until_it_goes_on(run, end, status, reason):
    with pytest.raises(type(end)), at_work(run, resume=False):
        raise end
    assert (run.status, run.read_description()["reason"]) == (status, reason)
    with at_work(RunFolder.open(run.path), resume=True):
        assert (run.status, run.read_description()["reason"]) == ("running", None)
    assert [line["event"] for line in run.events()] == ["opened", "resumed"]


def test_half_a_line_of_a_killed_process_does_not_spoil_the_log(run):
    with at_work(run, resume=False):
        run.event("round_started", round=1)
    run.describe(status="running")
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"time": "20')
    with at_work(run, resume=True):
        pass
    assert [line["event"] for line in run.events()] == ["opened", "round_started", "resumed"]


def test_a_run_that_was_asked_to_stop_is_stopped_however_its_process_ended(run):
    with at_work(run, resume=False), pytest.raises(RunError, match="another process"):
        note_stopped(RunFolder.read(run.path), "ada")
    with pytest.raises(RuntimeError), at_work(run, resume=True):
        raise RuntimeError("the client has been closed")
    note_stopped(run, "ada")
    assert (run.status, run.read_description()["reason"]) == ("stopped", "by ada")
    with at_work(run, resume=True):
        pass
    note_stopped(run, "ada")
    assert run.status == "finished"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk")
def test_on_a_full_disk_a_run_says_so(tmp_path, tiny_job):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        run = RunFolder.create(disk, tiny_job())

        def work() -> None:
            with at_work(run, resume=False):
                with (disk / "else").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while file.write(b"x" * 4096):
                        pass
                for round_ in range(1000):  # what fits into its last block is still written
                    run.event("round_started", round=round_)

        with pytest.raises(RunError):
            work()
        assert run.status == "failed"
        assert "No space left on device" in run.read_description()["reason"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_full_at_the_start_is_why_a_run_failed(run, monkeypatch):
    def full(_: RunFolder) -> None:
        raise RunError("can't be written (No space left on device)")

    monkeypatch.setattr(RunFolder, "keep_room", full)
    with pytest.raises(RunError), at_work(run, resume=False):
        pass
    about = run.read_description()
    assert (run.status, about["reason"]) == ("failed", "can't be written (No space left on device)")


def test_a_run_whose_process_was_killed_says_how(tmp_path, tiny_job, monkeypatch):
    run = RunFolder.create(tmp_path, tiny_job())
    run.describe(process=4711)
    killed.note_killed(tmp_path, 4711, killed.how_it_ended(-signal.SIGTERM))
    assert (run.status, run.read_description()["reason"]) == (
        "interrupted",
        "its process was killed by SIGTERM",
    )
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 7\noom_kill 99999\n")
    monkeypatch.setattr(killed, "_COUNTS", counts)
    assert killed.how_it_ended(-signal.SIGKILL) == "out of memory: the kernel killed its process"
    assert killed.how_it_ended(-signal.SIGKILL) == "its process was killed by SIGKILL"
    with at_work(run, resume=True):
        killed.note_killed(tmp_path, 1, "another one's")


def test_undefined_values_are_empty_cells_and_null(run):
    run.add_rows("metrics.csv", [{"round": 1, "sites": 2, "train_loss": 0.1, "dice_global": math.nan}])
    [row] = rows(run, "metrics.csv")
    assert (row["train_loss"], row["dice_global"], row["iou"]) == ("0.1", "", "")
    run.describe(test={"dice_global": math.nan, "by_site": [math.inf, 1.0]})
    assert json.loads((run.path / "run.json").read_text())["test"] == {
        "dice_global": None,
        "by_site": [None, 1.0],
    }


def test_what_a_kill_cut_short_and_what_came_after_the_checkpoint_is_dropped(run):
    run.save(Checkpoint(1, VECTOR))
    for round_ in (1, 2):
        run.event("round_finished", round=round_)
        run.add_rows("metrics.csv", [{"round": round_, "sites": 2, "train_loss": 0.5}])
        run.add_rows("sites.csv", [{"round": round_, "site": site} for site in ("a", "b")])
    for name, torn in {"metrics.csv": "1,", "sites.csv": '1,"a', "events.jsonl": '{"time'}.items():
        with (run.path / name).open("a") as file:
            file.write(torn)
    (run.path / ".run.json.x.part").write_text("{")
    run.mend()
    assert run.load().round == 1
    assert [row["round"] for row in rows(run, "metrics.csv")] == ["1"]
    assert [(row["round"], row["site"]) for row in rows(run, "sites.csv")] == [("1", "a"), ("1", "b")]
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    assert [event["round"] for event in events] == [1, 2]
    assert not list(run.path.glob("*.part"))
    assert run.has_begun()


def test_a_lost_table_is_named(run):
    run.save(Checkpoint(1, VECTOR))
    (run.path / "sites.csv").unlink()
    with pytest.raises(RunError, match=r"sites\.csv"):
        run.load()


def test_rounds_without_their_checkpoint_are_not_begun_anew(run):
    run.add_rows("metrics.csv", [{"round": 1}])
    assert run.has_begun()
    with pytest.raises(RunError, match="no checkpoint"):
        run.load()
