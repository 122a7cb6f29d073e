"""Publishing numbers to Prometheus: at a port of loopback, as a file for node_exporter, or both."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from shared.errors import WardroundError
from shared.monitoring.settings import MonitoringTable
from shared.wire.address import calls_this_machine

log = logging.getLogger(__name__)
WRITE_S = 15.0  # between two files
_LOOPBACK = "127.0.0.1"
Part = Callable[[], Iterator[Metric]]


class MonitoringError(WardroundError):
    """A place that can't be published at."""


class Numbers(Collector):
    """The numbers of one side, read from its folder whenever somebody asks.

    Args:
        prefix: Of their names: ``wardround_site``.
        parts: By name, what gives some of them. One that can't be read is left out, and said to be.
    """

    def __init__(self, prefix: str, parts: dict[str, Part]) -> None:
        self._prefix = prefix
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Yield all numbers."""
        unread = GaugeMetricFamily(
            f"{self._prefix}_unreadable",
            "1 for each part of these numbers that can't be read.",
            labels=["part"],
        )
        for name, part in self._parts.items():
            try:
                found = list(part())
            except (WardroundError, OSError, ValueError) as error:
                log.warning("no numbers of %s for Prometheus: %s", name, error)
                unread.add_metric([name], 1)
            else:
                unread.add_metric([name], 0)
                yield from found
        yield unread


@contextmanager
def published(settings: MonitoringTable, numbers: Numbers, name: str) -> Iterator[None]:
    """Publish numbers as the settings say, until this is left.

    Args:
        settings: Where.
        numbers: Of this side.
        name: Of the file: `name.prom`.

    Raises:
        MonitoringError: The port is taken, or the folder is not there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(numbers)
    with ExitStack() as stack:
        if settings.textfile is not None:
            stack.callback(_write(settings.textfile, f"{name}.prom", registry))
        if settings.port is not None:
            stack.callback(_serve(settings.port, registry))
        yield


def _serve(port: int, registry: CollectorRegistry) -> Callable[[], None]:
    """Answer at a port of loopback; returns what ends that."""
    numbers = make_wsgi_app(registry)

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not calls_this_machine(environment.get("HTTP_HOST", "")):  # a browser that was led here
            start("421 Misdirected Request", [])
            return [b"this is not the name of these numbers"]
        return numbers(environment, start)

    try:
        server = make_server(_LOOPBACK, port, answer, ThreadingWSGIServer, _Silent)
    except OSError as error:
        problem = f"can't be listened on ({error.strerror})"
        raise MonitoringError(problem, where=f"[monitoring] port = {port}", remedy="Take another.") from None

    thread = threading.Thread(target=server.serve_forever, name="monitoring port", daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


class _Silent(WSGIRequestHandler):
    """Writes no line about each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Write nothing."""


def _write(folder: Path, name: str, registry: CollectorRegistry) -> Callable[[], None]:
    """Write a file now and again; returns what ends that and takes the file, whose numbers are old, away."""
    path, over = folder / name, threading.Event()
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        problem = f"can't be written to ({error.strerror})"
        where = f"[monitoring] textfile = {folder}"
        raise MonitoringError(problem, where=where, remedy="Make the folder, for this user.") from None

    def again() -> None:
        while not over.wait(WRITE_S):
            try:
                write_to_textfile(str(path), registry)
            except OSError as error:
                log.warning("%s can't be written: %s", path, error)

    thread = threading.Thread(target=again, name="monitoring", daemon=True)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)

    return end
