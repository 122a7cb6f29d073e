"""Ports of federations: two that begin at once never get the same."""

import multiprocessing
import socket
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from simulate.federation import processes
from simulate.federation.processes import free_ports


@pytest.fixture(autouse=True)
def _a_machine_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(processes, "_PORTS", range(19_000, 19_040))


def _take_some(answers: Connection) -> None:
    answers.send(free_ports(20))
    answers.recv()


def test_no_port_is_given_twice_while_its_process_lives() -> None:
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=_take_some, args=(theirs,))
    other.start()
    given = set(ours.recv())
    assert given
    assert not given & set(free_ports(40))
    assert free_ports(40) == []  # all that are free have been given
    ours.send("end")
    other.join()
    assert given & set(free_ports(40))


def test_a_port_that_is_listened_on_is_given_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(processes, "_PORTS", range(port, port + 1))
        assert free_ports(1) == []
