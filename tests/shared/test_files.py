"""Files that are whole or as they were, and locks that end with who has them."""

import errno
import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from shared.files import (
    Lock,
    append,
    is_locked,
    remove_unfinished,
    replace_file,
    write_new,
    writing_remedy,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_gets_its_content_and_its_rights(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    replace_file(path, b"new", sync=sync)
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)
    replace_file(path, b"for all", 0o644, sync=sync)
    assert (path.read_bytes(), mode(path)) == (b"for all", 0o644)
    assert names(tmp_path) == ["key"]


def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["run.json"]


def test_a_new_file_takes_nobodys_place(tmp_path: Path) -> None:
    write_new(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert mode(tmp_path / "key") == 0o600
    assert names(tmp_path) == ["key"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    def die(path: Path) -> None:
        os.fsync = lambda _: os._exit(9)
        replace_file(path, b"half")

    (tmp_path / "baselines").mkdir()
    process = multiprocessing.get_context("fork").Process(
        target=die, args=(tmp_path / "baselines" / "a.json",)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list((tmp_path / "baselines").iterdir())) == 1
    remove_unfinished(tmp_path)
    assert list((tmp_path / "baselines").iterdir()) == []


def test_lines_are_added(tmp_path: Path) -> None:
    append(tmp_path / "a", "one\n", sync=False)
    append(tmp_path / "a", "two\r\n", sync=True)
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\r\n"


@pytest.mark.parametrize("of_folder", [True, False])
def test_a_lock_keeps_others_out_and_ends(tmp_path: Path, of_folder: bool) -> None:
    path = tmp_path if of_folder else tmp_path / "lock"
    assert not is_locked(path)
    with Lock(path, wait=False):
        assert is_locked(path)
        with pytest.raises(BlockingIOError):
            Lock(path, wait=False)
    assert not is_locked(path)
    with Lock(path):
        pass


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    def hold(path: Path, ready) -> None:
        with Lock(path):
            ready.set()
            signal.pause()

    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "lock", ready))
    process.start()
    assert ready.wait(60)
    assert is_locked(tmp_path / "lock")
    process.kill()
    process.join()
    assert not is_locked(tmp_path / "lock")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Make room on its disk."),
        (errno.EACCES, "Give this user the right to write there."),
        (errno.ENOENT, None),
    ],
)
def test_what_can_t_be_written_has_a_remedy_that_helps(number: int, remedy: str | None) -> None:
    assert writing_remedy(OSError(number, os.strerror(number))) == remedy
