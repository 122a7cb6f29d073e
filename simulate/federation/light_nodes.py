"""A site's node as a thread: many of them fit into one process, each with a connection of its own.

The connection, the protocol and the node are those of a hospital; only the worker process and the gate (audit
log, approvals) are left out.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from client.service.health import Health
from client.service.node import Node
from client.service.presence import Presence
from client.service.state import StateFolder
from client.settings.site import SiteConfig, load_site
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.site_worker import look_at, serve_message
from client.work.warm_networks import Workshop
from client.workers.calls import HEAD, Call, Host
from shared.flower.fleet import Fleet
from shared.pki.certificates import client_context, load_key
from simulate.workers.in_process import InProcess

_END = 30.0  # seconds in which a node must have ended


class LightHost:
    """Serves a site's messages in the node's own thread; those that share a workshop take turns.

    Args:
        config: The site's.
        workshop: Holds the networks.
        turn: Held while a message is served.
    """

    def __init__(self, config: SiteConfig, workshop: Workshop, turn: threading.Lock) -> None:
        self._site = Site(config, workshop, gate=None)
        self._app = make_app(self._site)
        self._turn = turn

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Serve a message."""
        with self._turn:
            if call.kind == HEAD:
                return look_at(self._site, call), {}
            return serve_message(self._app, call, call.payload["node"], call.payload["run"])


class LightNode:
    """Serves the site of a folder from a thread; a context manager.

    Args:
        folder: The site's, enrolled.
        make_host: Makes what serves its messages.
        connect: Makes its connection; as `Fleet`.
    """

    def __init__(
        self, folder: Path, make_host: Callable[[SiteConfig], Host], connect: Callable[..., Fleet] = Fleet
    ) -> None:
        config, state, keys = load_site(folder / "site.toml"), StateFolder(folder / "state"), folder / "keys"
        self._stop = threading.Event()
        presence = Presence(state, Health([]))  # nobody asks it
        url = f"https://{config.site.coordinator}"
        fleet = connect(url, load_key(keys / "site.key"), client_context(keys), self._stop, presence.contact)
        workers = partial(InProcess, partial(make_host, config), threads=1)
        node = Node(config.name, fleet, workers, state=state, presence=presence, stop=self._stop)
        self._thread = threading.Thread(target=node.serve, name=config.name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_END)
