"""The site's service: one long-lived process that asks the coordinator for work; a warm worker does it.

Training runs in a worker process. When that dies (memory, a CUDA fault), the message is tried once more in a
new one; then the coordinator gets an error reply, and the site goes on.
"""

import logging
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from flwr.app import Error, Message

from client.site import load_site
from client.state import StateFolder
from client.workers.calls import Call, Host, Outcome
from client.workers.processes import ProcessPool
from client.workers.records import pack, unpack
from shared import messages
from shared.errors import SiteError, WardroundError
from shared.flower.fleet import HEARTBEAT, Fleet, RefusedError, RunOverError, StoppedError, Ticket
from shared.pki import client_context, load_key

_ENDED_TWICE = "the site's service ended twice over this message"
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger(__name__)
_STOP_LOOK = 0.5  # seconds between looks whether to stop, while the worker is busy
_STILL_WANTED = 5.0  # seconds between looks whether a run still waits for what is being worked on
_SOONEST_LOOK, _LATEST_LOOK = 0.08, 3.0  # seconds between questions for work
_PATIENCE = 0.04  # ask again after this part of the time since the last work: so much later a message is seen
_SETTLED = 5.0  # seconds after which a question has been uploaded to its end
_REFUSED_WAIT = 5.0  # seconds before a site that was turned away asks again


@dataclass(frozen=True)
class SiteHostFactory:
    """Builds a site's host inside its worker process, the only one that loads the networks."""

    site_file: Path

    def __call__(self) -> Host:
        """Build the host.

        Raises:
            SiteError: The site's configuration or device can't be used.
        """
        from client.worker import SiteHost  # noqa: PLC0415  (heavy, and the node has no need of it)

        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=LOG_FORMAT)
        return SiteHost(self.site_file)


class Node:
    """Serves one site until it is stopped.

    Args:
        site: Name of the site.
        fleet: The connection to the coordinator.
        factory: Builds the worker's host.
        state: Where the site keeps what must outlive this process.
        stop: Set it to end `serve`.
    """

    def __init__(
        self, site: str, fleet: Fleet, factory: SiteHostFactory, state: StateFolder, stop: threading.Event
    ) -> None:
        self._site = site
        self._fleet = fleet
        self._factory = factory
        self._state = state
        self._stop = stop
        self._pool: ProcessPool | None = None
        self._calls = 0
        self._answered: list[Ticket] = []  # and not yet confirmed

    def serve(self) -> None:
        """Come online and answer messages, until stopped.

        Raises:
            WardroundError: The site's configuration can't be used, or another process serves this site.
        """
        with self._state.lock():
            try:
                self._workers().warm_up()
                while not self._stop.is_set():
                    try:
                        self._serve_while_welcome()
                    except RefusedError as refusal:
                        self._state.tell("refused", refusal.problem)
                        _log.warning("%s", refusal)
                        self._stop.wait(_REFUSED_WAIT)
            except StoppedError:
                return
            finally:
                self._state.tell("stopped")
                self._fleet.leave()
                self._close_workers()

    def _serve_while_welcome(self) -> None:
        self._fleet.activate(self._state.node_id)
        self._state.node_id = self._fleet.node_id
        self._state.tell("online")
        _log.info("%s is online", self._site)
        with _Heart(self._fleet, self._stop):
            last_work = time.monotonic()
            self._go_on()
            while not self._stop.is_set():
                ticket = self._fleet.pull()
                if ticket is not None:
                    self._state.keep(ticket)
                    self._answer(ticket)
                    last_work = time.monotonic()
                idle = time.monotonic() - last_work
                if idle > _SETTLED:
                    self._confirm_answered()
                self._stop.wait(min(max(idle * _PATIENCE, _SOONEST_LOOK), _LATEST_LOOK))

    def _go_on(self) -> None:
        """Answer the message over which this service ended before; with an error if that happens again."""
        ticket, ends = self._state.unfinished()
        if ticket is not None:
            _log.info("going on with a message of before the restart")
            self._answer(ticket, give_up=ends > 1)

    def _answer(self, ticket: Ticket, *, give_up: bool = False) -> None:
        """Do what a message asks. It is kept until then: a site that dies over it goes on when restarted."""
        kind = ticket.head.metadata.message_type
        self._state.tell("working", kind)
        start = time.monotonic()
        try:
            reply = _error(ticket, messages.CRASH, _ENDED_TWICE) if give_up else self._reply(ticket)
            self._fleet.push(reply, time.monotonic() - start)
            _log.info("%s: %.2f s", kind, time.monotonic() - start)
            self._confirm_answered()
            self._answered.append(ticket)
        except RunOverError:
            _log.info("%s: given up, its run has ended", kind)
        self._state.drop()
        self._state.tell("online")

    def _confirm_answered(self) -> None:
        """Confirm the messages answered before the last one.

        Not at once: a quick answer can overtake the coordinator's upload of the question's last parts. Nobody
        here needs them, but their upload fails once the question is confirmed, and that ends the run.
        """
        while self._answered:
            self._fleet.confirm(self._answered.pop())

    def _reply(self, ticket: Ticket) -> Message:
        """Return the answer, or an error that says what went wrong."""
        deadline = time.monotonic() + ticket.head.metadata.ttl
        try:
            payload, tensors = pack(self._fleet.fetch(ticket))
        except ValueError as error:
            return _error(ticket, messages.SITE_ERROR, f"the message {error}")
        self._calls += 1
        payload |= {
            "type": ticket.head.metadata.message_type,
            "id": ticket.head.metadata.message_id,
            "node": self._fleet.node_id,
            "run": ticket.run_id,
        }
        call = Call(self._calls, self._site, ticket.head.metadata.message_type, payload, tensors)
        del payload, tensors
        try:
            outcome = self._work(call, ticket.run_id, deadline)
        except WardroundError as error:  # the worker could not be started
            self._close_workers()
            _log.error("%s", error)
            return _error(ticket, messages.SITE_ERROR, f"the site's worker can't be started: {error.problem}")
        return _message(ticket, outcome)

    def _work(self, call: Call, run_id: int, deadline: float) -> Outcome:
        workers = self._workers()
        workers.submit([call])
        next_look = time.monotonic() + _STILL_WANTED
        while not self._stop.is_set():
            outcomes = workers.wait(_STOP_LOOK)
            if outcomes:
                return outcomes[0]
            if time.monotonic() < min(deadline, next_look):
                continue
            if time.monotonic() >= deadline or not self._fleet.is_running(run_id):
                workers.cancel()
                raise RunOverError
            next_look = time.monotonic() + _STILL_WANTED
        raise StoppedError

    def _workers(self) -> ProcessPool:
        if self._pool is None:
            self._pool = ProcessPool(1, self._factory, threads=1)  # each job sets its own number
        return self._pool

    def _close_workers(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def open_node(folder: Path, stop: threading.Event) -> Node:
    """Return the node of a site's folder: `site.toml`, `keys/` and `state/`.

    Raises:
        WardroundError: Something in the folder is missing or can't be used.
    """
    site_file = folder / "site.toml"
    config = load_site(site_file)
    if config.site.coordinator is None:
        raise SiteError("names no coordinator", where=f"{site_file}: [site] coordinator")
    state = StateFolder(folder / "state")
    fleet = Fleet(
        f"https://{config.site.coordinator}",
        load_key(folder / "keys" / "site.key"),
        client_context(folder / "keys"),
        stop,
        on_wait=lambda reason: state.tell("waiting for the coordinator", reason),
    )
    return Node(config.name, fleet, SiteHostFactory(site_file), state, stop)


class _Heart:
    """Keeps a site online while it works, from a thread of its own."""

    def __init__(self, fleet: Fleet, stop: threading.Event) -> None:
        self._fleet = fleet
        self._stop = stop
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT / 2) and not self._stop.is_set():
            try:
                self._fleet.heartbeat()
            except StoppedError:
                return
            except RefusedError as refusal:
                _log.warning("%s", refusal)  # the next request for work ends in the same way


def _message(ticket: Ticket, outcome: Outcome) -> Message:
    if isinstance(outcome.error, WardroundError):  # the worker died, twice
        return _error(ticket, messages.SITE_ERROR, str(outcome.error))
    if outcome.payload is None:
        _log.error("%s", outcome.error)
        return _error(ticket, messages.CRASH, "the site's worker failed; the site's log tells more")
    if "error" in outcome.payload:
        return _error(ticket, *outcome.payload["error"])
    return Message(unpack(outcome.payload, outcome.tensors), reply_to=ticket.head)


def _error(ticket: Ticket, code: int, reason: str) -> Message:
    return Message(Error(code, reason), reply_to=ticket.head)
