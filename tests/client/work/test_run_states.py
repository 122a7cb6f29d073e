"""What a site remembers of its runs, on its disk."""

import stat
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from client.work.run_states import MOST_RUNS, RunStates


def state(secret: bytes) -> RecordDict:
    return RecordDict({"round": ConfigRecord({"state": secret})})


def test_each_run_has_its_own_and_another_worker_finds_it(tmp_path: Path):
    RunStates(tmp_path / "runs").keep(1, state(b"\x00one"))
    RunStates(tmp_path / "runs").keep(-2, state(b"\xfftwo"))
    later = RunStates(tmp_path / "runs")
    assert later.take(-2)["round"]["state"] == b"\xfftwo"
    assert later.take(1)["round"]["state"] == b"\x00one"


def test_what_was_taken_is_gone_so_that_no_stage_begins_twice_from_it(tmp_path: Path):
    states = RunStates(tmp_path / "runs")
    states.keep(1, state(b"secret"))
    assert states.take(1)
    assert not states.take(1)
    states.keep(1, RecordDict())
    assert not list((tmp_path / "runs").iterdir())


def test_a_file_cut_off_by_a_crash_is_nothing(tmp_path: Path):
    states = RunStates(tmp_path / "runs")
    states.keep(1, state(b"secret"))
    path = next((tmp_path / "runs").iterdir())
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert not states.take(1)


def test_nobody_else_reads_it_and_it_does_not_grow(tmp_path: Path):
    states = RunStates(tmp_path / "runs")
    for run in range(MOST_RUNS + 5):
        states.keep(run, state(b"secret"))
    files = list((tmp_path / "runs").iterdir())
    assert len(files) == MOST_RUNS
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) == 0o700
