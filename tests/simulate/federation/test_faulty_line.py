"""The line between a site and its coordinator: it carries everything, later or slower or not yet."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from simulate.federation.faulty_line import Line


@pytest.fixture
def line() -> Iterator[Line]:
    """Give a line to a server that sends back what it gets."""

    def echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        with Line(*listener.getsockname()) as made:
            yield made
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds for which the line holds pieces back: what it adds, however slow the machine is."""
    kept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        kept.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    return kept


def exchange(line: Line, content: bytes, timeout: float = 20) -> tuple[bytes, float]:
    """Send something; return what comes back, and the seconds that it took."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", line.port), timeout=timeout) as sock:
        threading.Thread(target=lambda: (sock.sendall(content), sock.shutdown(socket.SHUT_WR))).start()
        came = b""
        while data := sock.recv(65536):
            came += data
    return came, time.monotonic() - start


def test_everything_arrives(line):
    content = bytes(range(256)) * 4096
    assert exchange(line, content)[0] == content


def test_a_long_line_takes_its_time_each_way(line, slept):
    line.delay = 0.2
    came, seconds = exchange(line, b"hello")
    assert came == b"hello"
    assert seconds >= 0.4
    assert max(slept) <= 0.2


def test_a_slow_line_is_shared(line, slept):
    line.rate = 200_000.0
    content = bytes(100_000)
    taken = []
    threads = [threading.Thread(target=lambda: taken.append(exchange(line, content)[1])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(taken) >= 0.9  # 200 kB one way; the way back overlaps
    assert max(slept) <= 1


def test_what_is_sent_over_a_cut_line_arrives_when_it_is_mended(line):
    line.cut()
    mending = threading.Timer(0.5, line.mend)
    mending.start()
    came, seconds = exchange(line, b"hello")
    assert came == b"hello"
    assert seconds >= 0.4


def test_nothing_passes_while_it_is_cut(line):
    line.cut()
    with pytest.raises(TimeoutError):
        exchange(line, b"hello", timeout=0.3)
    line.mend()
