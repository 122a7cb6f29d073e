"""A process for each run, forked from one that has loaded what they need."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from shared.flower import fork_server
from shared.flower.fork_server import ForkServer

PROJECT = Path(__file__).parents[3]
SERVER = """
import os, sys
from pathlib import Path
from shared.flower.fork_server import fork_runs

def run(folder, token):
    loaded = "colorsys" in sys.modules
    with open(folder / f"{token} told", "w") as told:  # a named pipe
        told.write(f"{token} {os.getpid()} {os.getppid()} {loaded} {sys.stdin.read()!r}")
    with open(folder / f"{token} end") as end:  # another one
        end.read()
    (folder / f"{token} has ended").touch()

import colorsys
def note_end(pid, code):
    with open(Path(sys.argv[1]) / "ends", "a") as ends:
        ends.write(f"{pid} {code}\\n")
colorsys.note_end = note_end
fork_runs(run, Path(sys.argv[1]), ["nowhere", "colorsys"])
"""


@pytest.fixture
def forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ForkServer:
    monkeypatch.chdir(PROJECT)
    return ForkServer([sys.executable, "-c", SERVER, str(tmp_path)])


def make_pipes(folder: Path, token: str) -> None:
    for pipe in ("told", "end"):
        os.mkfifo(folder / f"{token} {pipe}")


def start(forks: ForkServer, token: str, folder: Path) -> tuple[psutil.Process, psutil.Process, list[str]]:
    """Start a run; returns its process, that from which it was forked, and what else it tells."""
    make_pipes(folder, token)
    forks.start(token)
    name, pid, parent, *rest = (folder / f"{token} told").read_text().split()
    assert name == token
    return psutil.Process(int(pid)), psutil.Process(int(parent)), rest


def end(folder: Path, token: str) -> None:
    (folder / f"{token} end").write_text("")


def test_each_run_has_a_process_that_finds_everything_loaded(forks: ForkServer, tmp_path: Path) -> None:
    first, parent, told = start(forks, "first", tmp_path)
    end(tmp_path, "first")
    second, same_parent, told_too = start(forks, "second", tmp_path)
    end(tmp_path, "second")
    assert told == told_too == ["True", "''"]  # loaded, and no token but its own
    assert first != second
    assert parent == same_parent


def test_how_each_process_ended_is_told(
    forks: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, _, _ = start(forks, "first", tmp_path)
    other, parent, _ = start(forks, "second", tmp_path)
    killed.kill()
    while not (tmp_path / "ends").exists():
        assert parent.is_running()
        time.sleep(0.01)
    end(tmp_path, "second")
    monkeypatch.setattr(fork_server, "KEPT", 0.0)
    forks.look()
    parent.wait()
    assert (tmp_path / "ends").read_text().splitlines() == [f"{killed.pid} -9", f"{other.pid} 0"]


def test_what_nobody_needs_ends_with_its_last_run(
    forks: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, parent, _ = start(forks, "early", tmp_path)
    forks.look()  # another run may come soon
    monkeypatch.setattr(fork_server, "KEPT", 0.0)
    forks.look()
    end(tmp_path, "early")
    parent.wait()
    assert (tmp_path / "early has ended").exists()
    _, another, _ = start(forks, "late", tmp_path)
    end(tmp_path, "late")
    assert another != parent


def test_a_run_is_not_lost_with_what_was_to_fork_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    os.mkfifo(tmp_path / "loads")
    for token in ("early", "second"):
        make_pipes(tmp_path, token)
    # Killed while it loads: nobody has read the token of the run yet.
    loads = "import os, sys\nwith open(sys.argv[1] + '/loads', 'w') as f: f.write(str(os.getpid()))\n"
    forks = ForkServer([sys.executable, "-c", loads + SERVER, str(tmp_path)])
    forks.start("early")
    first = psutil.Process(int((tmp_path / "loads").read_text()))
    first.suspend()
    forks.start("second")
    first.kill()
    forks._process.wait()
    forks.look()
    (tmp_path / "loads").read_text()
    for token in ("early", "second"):
        assert (tmp_path / f"{token} told").read_text().split()[0] == token
        end(tmp_path, token)
    forks.look()
    assert not forks._waiting


def test_one_that_was_killed_is_started_again(forks: ForkServer, tmp_path: Path) -> None:
    _, parent, _ = start(forks, "early", tmp_path)
    end(tmp_path, "early")
    parent.kill()
    parent.wait()
    _, another, _ = start(forks, "late", tmp_path)
    end(tmp_path, "late")
    assert another != parent
