"""Hospitals of a real federation without processes of their own; a test may hold their training."""

import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from client.work.site_worker import SiteHost
from client.workers.calls import Call
from simulate.federation.light_nodes import LightNode
from simulate.federation.processes import LocalFederation


class Barrier:
    """Holds the training of a site: a run can't go beyond that round before the test says so."""

    def __init__(self) -> None:
        self._met: queue.Queue[int] = queue.Queue()
        self._open = threading.Semaphore(0)

    def hold(self, round_: int) -> None:
        self._met.put(round_)
        self._open.acquire()

    def meet(self, round_: int) -> None:
        """Wait until the site trains in a round."""
        assert self._met.get() == round_

    def let_go(self, times: int = 1) -> None:
        """Let the site go on."""
        self._open.release(times)


class Sites:
    """Hospitals whose messages are served one at a time; a context manager that ends them.

    Attributes:
        federation: Theirs.
        held: Whose training waits until a test lets it go on.
    """

    def __init__(self, federation: LocalFederation) -> None:
        self.held: dict[str, Barrier] = {}
        self.turn = threading.Lock()
        self.federation = federation
        self._nodes: dict[str, LightNode] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for site in list(self._nodes):
            self.stop(site)

    def start(self, site: str) -> None:
        """Let a hospital connect that has not, and wait until it is online."""
        if site not in self._nodes:
            folder = self.federation.folder / site
            self._nodes[site] = LightNode(folder, lambda config: _HeldHost(self, folder))
            self._nodes[site].__enter__()
        self.federation.await_online({site})

    def stop(self, site: str) -> None:
        """End a hospital's node."""
        if site in self.held:
            self.held.pop(site).let_go(1000)
        self._nodes.pop(site).__exit__(None, None, None)


class _HeldHost:
    def __init__(self, sites: Sites, folder: Path) -> None:
        self._sites = sites
        self._site = folder.name
        self._host = SiteHost(folder / "site.toml")

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        barrier = self._sites.held.get(self._site)
        if barrier is not None and call.kind == "train":
            barrier.hold(call.payload["records"]["config"][1]["round"])
        with self._sites.turn:
            return self._host.handle(call)
