"""The site's service: one long-lived process that asks the coordinator for work; a warm worker does it.

Training runs in a worker process. When that dies (memory, a CUDA fault), the message is tried once more in a
new one; then the coordinator gets an error reply, and the site goes on.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx
from flwr.app import Error, Message, RecordDict

from client.service.presence import ONLINE, WORKING, Presence
from client.service.state import StateFolder
from client.workers.calls import HEAD, Call, Outcome, Workers
from client.workers.records import pack, unpack
from shared.errors import WardroundError
from shared.flower.connection import RefusedError, RunOverError, StoppedError
from shared.flower.fleet import HEARTBEAT, Fleet, Ticket
from shared.flower.stored import named_bytes, without_arrays
from shared.systemd import notify
from shared.text.logs import about
from shared.wire import messages
from shared.wire.starts_message import without_starts

_LONGEST = 100  # characters of a name in the log
_ENDED_TWICE = "the site's service ended twice over this message"
_log = logging.getLogger(__name__)
_MOST_FAILURES = 1000  # that are kept
_STOP_LOOK = 0.5  # seconds between looks whether to stop, while the worker is busy
_FRESH = 2.0  # seconds: whether a younger message is waited for need not be asked
_DESCRIBE = f"query.{messages.DESCRIBE}"
_PREPARING = 300.0  # seconds in which data are made ready though nobody waits: they are asked for again
_STILL_WANTED = 5.0  # seconds between looks whether a run still waits for what is being worked on
_SOONEST_LOOK, _LATEST_LOOK = 0.08, 3.0  # seconds between questions for work
_PATIENCE = 0.04  # ask again after this part of the time since the last work: so much later a message is seen
_REFUSED_WAITS = (5.0, 900.0)  # seconds before a site that was turned away asks again: first, and at most


class Node:
    """Serves one site until it is stopped.

    Args:
        site: Name of the site.
        fleet: The connection to the coordinator.
        open_workers: Starts the worker that does what is asked.
        state: Where the site keeps what must outlive this process.
        presence: Told what this service is doing.
        stop: Set it to end `serve`.
    """

    def __init__(
        self,
        site: str,
        fleet: Fleet,
        open_workers: Callable[[], Workers],
        *,
        state: StateFolder,
        presence: Presence,
        stop: threading.Event,
    ) -> None:
        self._site = site
        self._fleet = fleet
        self._open_workers = open_workers
        self._state = state
        self._presence = presence
        self._stop = stop
        self._pool: Workers | None = None
        self._calls = 0
        self._refused_wait = 0.0
        self._failures: dict[str, str] = {}  # the last one of what was asked
        self._refusing = ""  # why nothing is done for the coordinator until a person has looked

    def serve(self) -> None:
        """Come online and answer messages, until stopped.

        Raises:
            WardroundError: The site's configuration can't be used.
        """
        end = ""
        self._presence.tell("starting")
        try:
            self._workers().warm_up()
            notify("READY=1")
            while not self._stop.is_set():
                try:
                    self._serve_while_welcome()
                except RefusedError as refusal:
                    self._presence.tell("refused", refusal.problem)
                    wait = self._patience(refusal)
                    _log.warning(
                        "%s; asks again in %g s", refusal.problem, wait, extra=about(site=self._site)
                    )
                    self._stop.wait(wait)
        except StoppedError:
            return
        except WardroundError as error:
            end = error.problem
            raise
        finally:
            notify("STOPPING=1")
            self._presence.tell("stopped", end)
            self._fleet.leave()
            self._close_workers()

    def _patience(self, refusal: RefusedError) -> float:
        """Return how long a site waits that was turned away: ever longer, unless that ends by itself soon."""
        first, longest = _REFUSED_WAITS
        is_short = refusal.status == httpx.codes.PRECONDITION_FAILED  # an earlier process counts as online
        self._refused_wait = first if is_short else min(max(2 * self._refused_wait, first), longest)
        return self._refused_wait

    def _serve_while_welcome(self) -> None:
        known = self._state.node_id
        self._fleet.activate(known)
        if self._fleet.node_id != known:  # the coordinator has forgotten this site, and all that it asked
            self._state.node_id = self._fleet.node_id
            self._state.drop()
        self._tell_online()
        self._refused_wait = 0.0
        _log.info("%s is online", self._site, extra=about(site=self._site))
        with _Heart(self._fleet, self._stop):
            last_work = time.monotonic()
            self._go_on()
            while not self._stop.is_set():
                asked = time.monotonic()
                ticket = self._fleet.pull()
                if ticket is not None:
                    self._state.keep(ticket)
                    self._answer(ticket)
                    last_work = time.monotonic()
                idle = time.monotonic() - last_work
                look = asked + min(max(idle * _PATIENCE, _SOONEST_LOOK), _LATEST_LOOK)
                self._stop.wait(max(0.0, look - time.monotonic()))  # the coordinator may hold the question

    def _go_on(self) -> None:
        """Answer the message over which this service ended before; with an error if that happens again."""
        ticket, ends = self._state.unfinished()
        if ticket is not None:
            _log.info("going on with a message of before the restart")
            self._answer(ticket, give_up=ends > 1)

    def _answer(self, ticket: Ticket, *, give_up: bool = False) -> None:
        """Do what a message asks. It is kept until then: a site that dies over it goes on when restarted."""
        kind = ticket.head.metadata.message_type
        self._presence.tell(WORKING, kind)
        start = time.monotonic()
        try:
            reply = _error(ticket, messages.CRASH, _ENDED_TWICE) if give_up else self._reply(ticket)
            self._fleet.push(reply, time.monotonic() - start)
            self._note(ticket, f"{time.monotonic() - start:.2f} s", _failure(reply))
        except RunOverError:
            self._note(ticket, "given up, its run has ended")
        self._state.drop()
        self._tell_online()

    def _note(self, ticket: Ticket, outcome: str, failure: str = "") -> None:
        """Log what was done for whom.

        A run that waits for an approval asks every 15 seconds, for days: what fails as it did before is said
        once.
        """
        asked = _asked(ticket)
        run, round_, researcher = (asked.get(key) for key in ("run", "round", "researcher"))
        words = [
            *([f"run {run}"] if run else []),
            *([f"round {round_}"] if round_ else []),
            *([f"for {researcher}"] if researcher else []),
        ]
        kind = ticket.head.metadata.message_type
        said = f"{kind} ({', '.join(words)})" if words else kind
        before = self._failures.pop(said, "")  # also of what succeeds: a failure after it is news
        level = logging.DEBUG if failure and failure == before else logging.INFO
        if failure and len(self._failures) < _MOST_FAILURES:
            self._failures[said] = failure
        outcome += failure
        extra = about(site=self._site, kind=kind, outcome=outcome, **asked)
        _log.log(level, "%s: %s", said, outcome, extra=extra)

    def _tell_online(self) -> None:
        if self._pool is None:
            self._presence.tell("without a worker", "it can't be started; the log says why")
        elif self._refusing:
            self._presence.tell("refusing", self._refusing)
        else:
            self._presence.tell(ONLINE)

    def _reply(self, ticket: Ticket) -> Message:
        """Return the answer, or an error that says what went wrong."""
        deadline = time.monotonic() + ticket.head.metadata.ttl
        age = time.time() - ticket.head.metadata.created_at
        if age > _FRESH and not self._fleet.is_awaited(ticket):  # of a round that went on without this site
            raise RunOverError
        try:
            content = self._fleet.content(ticket)
            if (named := named_bytes(content)) > 0:
                looked = self._work([self._call(ticket, HEAD, without_arrays(content))], ticket, deadline)
                self._note_refusal(looked)
                if looked.payload is None or named > looked.payload.get("most", 0):
                    return _turned_away(ticket, looked, named)
                at_hand = looked.payload.get("at_hand", ())
                content = self._fleet.complete(without_starts(content, at_hand))
            calls = [self._call(ticket, ticket.head.metadata.message_type, content)]
            del content
            outcome = self._work(calls, ticket, deadline)
        except ValueError as error:
            return _error(ticket, messages.SITE_ERROR, f"the message {error}")
        except WardroundError as error:  # the worker could not be started
            self._close_workers()
            _log.error("%s", error)
            return _error(ticket, messages.SITE_ERROR, f"the site's worker can't be started: {error.problem}")
        self._note_refusal(outcome)
        return _message(ticket, outcome)

    def _note_refusal(self, outcome: Outcome) -> None:
        """Keep in mind whether the coordinator knows another audit log than this site's."""
        code, reason = (outcome.payload or {}).get("error", (0, ""))
        self._refusing = reason if code == messages.LOG_CUT else ""
        if self._refusing:
            _log.error("%s", reason)

    def _call(self, ticket: Ticket, kind: str, content: RecordDict) -> Call:
        """Return what the worker is to do; what can't be read is a ValueError."""
        payload, arrays = pack(content)
        self._calls += 1
        metadata = ticket.head.metadata
        payload |= {
            "type": metadata.message_type,
            "id": metadata.message_id,
            "node": self._fleet.node_id,
            "run": ticket.run_id,
        }
        return Call(self._calls, self._site, kind, payload, arrays)

    def _work(self, calls: list[Call], ticket: Ticket, deadline: float) -> Outcome:
        """Let the worker do what is asked.

        Args:
            calls: One; taken out, so that a large model is let go of as soon as the worker is done with it.
            ticket: Of the message.
            deadline: After it nobody waits for the answer (monotonic).
        """
        workers = self._workers()
        workers.submit([calls.pop()])
        begun = time.monotonic()
        next_look, is_wanted = begun + _STILL_WANTED, True
        while not self._stop.is_set():
            outcomes = workers.wait(_STOP_LOOK)
            if outcomes and is_wanted:
                return outcomes[0]
            if outcomes:
                raise RunOverError
            if time.monotonic() < min(deadline, next_look):
                continue
            is_wanted = is_wanted and time.monotonic() < deadline and self._fleet.is_awaited(ticket)
            prepares = (
                ticket.head.metadata.message_type == _DESCRIBE and time.monotonic() < begun + _PREPARING
            )
            if not is_wanted and not prepares:
                workers.cancel()
                raise RunOverError
            next_look = time.monotonic() + _STILL_WANTED
            deadline = deadline if is_wanted else math.inf
        raise StoppedError

    def _workers(self) -> Workers:
        if self._pool is None:
            self._pool = self._open_workers()
        return self._pool

    def _close_workers(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None


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
            except RefusedError:
                continue  # the next request for work ends in the same way, and says so


def _asked(ticket: Ticket) -> dict[str, Any]:
    """Return for whom a message asks, as it says; what it says is not checked, and cut."""
    config = messages.config_in(ticket.head.content if ticket.is_enclosed else RecordDict())
    found = {key: config.get(key) for key in ("run", "round", "researcher", "project")}
    return {
        key: value if isinstance(value, int) else str(value)[:_LONGEST]
        for key, value in found.items()
        if value
    }


def _failure(reply: Message) -> str:
    return f", {reply.error.reason}" if reply.has_error() else ""


def _message(ticket: Ticket, outcome: Outcome) -> Message:
    if isinstance(outcome.error, WardroundError):  # the worker died, twice
        return _error(ticket, messages.SITE_ERROR, str(outcome.error))
    if outcome.payload is None:
        _log.error("%s", outcome.error)
        return _error(ticket, messages.CRASH, "the site's worker failed; the site's log tells more")
    if "error" in outcome.payload:
        return _error(ticket, *outcome.payload["error"])
    return Message(unpack(outcome.payload, outcome.arrays), reply_to=ticket.head)


def _turned_away(ticket: Ticket, looked: Outcome, named: int) -> Message:
    """Return the answer to a message of which no array is fetched."""
    if looked.payload is None or "error" in looked.payload:
        return _message(ticket, looked)
    most = looked.payload["most"]
    reason = f"the message names arrays of {named} bytes, and its job has use for {most} at most"
    return _error(ticket, messages.SITE_ERROR, reason)


def _error(ticket: Ticket, code: int, reason: str) -> Message:
    return Message(Error(code, reason), reply_to=ticket.head)
