"""What a site's worker process does: it holds the site's ClientApp, warm, and hands messages to it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from client.guard.books_elsewhere import Ask, books_elsewhere
from client.guard.site_books import SiteBooks
from client.settings.site import load_site
from client.training.device import open_device
from client.work.client_app import make_app
from client.work.hospital import Site
from client.work.request_heads import look
from client.work.run_states import RunStates
from client.work.run_store import RunStore
from client.work.secure_aggregation import Credentials
from client.work.start_store import StartStore
from client.work.warm_networks import Workshop
from client.workers.calls import HEAD, Call
from client.workers.records import pack, unpack
from shared.flower import COORDINATOR_NODE, become
from shared.text.redact import redact_error
from shared.wire.messages import CRASH

_log = logging.getLogger(__name__)


class SiteHost:
    """One hospital: model, data and device stay warm from message to message.

    Args:
        site_file: The hospital's `site.toml`.
        ask: Reaches the site's service, where that has the books on another machine. None: they are opened
            here.

    Raises:
        SiteError: The configuration or the device can't be used.
    """

    def __init__(self, site_file: Path, ask: Ask | None = None) -> None:
        config = load_site(site_file)
        name = "cpu" if config.device.gpu is None else f"cuda:{config.device.gpu}"
        device = open_device(name, config.device.memory_gib)
        folder = site_file.parent
        books = SiteBooks.open(folder, config) if ask is None else books_elsewhere(folder, ask)
        # An administrator may keep the site's key from the nodes; jobs with secure aggregation need it.
        has_key = ask is None or (folder / "keys" / "site.key").exists()
        state = folder / "state"
        site = Site(
            config,
            Workshop(device, kernels=state / "kernels", starts=StartStore(state / "starts")),
            gate=books.gate,
            credentials=Credentials.load(config, folder / "keys") if has_key else None,
            store=RunStore(state / "kept"),
            sums=books.sums,
            cohort=books.cohort,
        )
        self._site = site
        self._app = make_app(site)
        self._states = RunStates(state / "runs")

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Serve a message; whatever goes wrong is logged here, and leaves as a reason that names nobody."""
        try:
            run = call.payload["run"]
            if call.kind == HEAD:
                return look_at(self._site, call), {}
            state = self._states.take(run)
            answer = serve_message(self._app, call, call.payload["node"], run, state)
            self._states.keep(run, state)
        except Exception as error:
            _log.exception("a %s message failed", call.kind)
            return {"error": (CRASH, redact_error(error))}, {}
        else:
            return answer


def look_at(site: Site, call: Call) -> dict[str, Any]:
    """Return what a site says to the head of a message, see `client.work.request_heads`."""
    return look(site, call.payload["type"], unpack(call.payload, {}), call.payload["run"])


def serve_message(
    app: ClientApp, call: Call, node_id: int, run_id: int = 1, state: RecordDict | None = None
) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Hand a message that was taken apart to a ClientApp, and take its reply apart.

    Args:
        app: The site's.
        call: The message.
        node_id: The site's.
        run_id: The run's.
        state: What the site remembers from message to message of a run; changed in place.
    """
    become(node_id, run_id)
    metadata = Metadata(
        run_id=run_id,
        message_id=call.payload["id"],
        src_node_id=COORDINATOR_NODE,
        dst_node_id=node_id,
        reply_to_message_id="",
        group_id="",
        created_at=0.0,
        ttl=float("inf"),
        message_type=call.payload["type"],
        src_task_id=1,
        dst_task_id=1,
    )
    state = RecordDict() if state is None else state
    context = Context(run_id=run_id, node_id=node_id, node_config={}, state=state, run_config={})
    content = unpack(call.payload, call.arrays)
    call.arrays.clear()
    reply = app(Message(content=content, metadata=metadata), context)
    if reply.has_error():
        return {"error": (reply.error.code, reply.error.reason)}, {}
    return pack(reply.content)
