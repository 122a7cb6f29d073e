"""The thread of a service that looks what has happened, and sends what is to be told.

It stands beside the work: whatever goes wrong here is a line of the log.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from shared.errors import WardroundError
from shared.notify.channels import send
from shared.notify.event import Event
from shared.notify.outbox import FILE, Outbox
from shared.notify.settings import NotifyTable

log = logging.getLogger(__name__)
LOOK = 5.0  # seconds between looks


class Teller:
    """Takes states as they are seen, and makes events of their changes.

    Args:
        settings: Who is told of what.
        source: Who tells.
        outbox: Remembers what was told.
    """

    def __init__(self, settings: NotifyTable, source: str, outbox: Outbox) -> None:
        self.settings = settings
        self._source = source
        self._outbox = outbox

    def see(self, key: str, value: str, kind: str | None, **fields: object) -> None:
        """Take a state; where it has changed, people are told of it by an event of this kind.

        Args:
            key: What has a state: ``run:NAME``.
            value: Its state.
            kind: The event that it makes; None notes the state and tells nobody.
            fields: Of the event.
        """
        if self._outbox.state(key) == value:
            return
        told = kind is not None and self.settings.wants(kind)
        event = Event.of(self._source, kind, **fields) if told and kind is not None else None
        self._outbox.note(key, value, event, self.settings.channels())

    def see_at_most(
        self, key: str, value: float, marks: list[int] | list[float], kind: str, **fields: object
    ) -> None:
        """Take a number that falls; people are told once of each mark that it reaches, the lowest only."""
        reached = [mark for mark in marks if value <= mark]
        lowest = min(reached, default=None)
        before = self._outbox.state(key)
        known = None if before in {None, ""} else float(str(before))
        fell = lowest is not None and (known is None or lowest < known)
        self.see(key, "" if lowest is None else repr(float(lowest)), kind if fell else None, **fields)

    def knows(self, key: str) -> bool:
        """Say whether a state was ever seen."""
        return self._outbox.state(key) is not None


class Messenger:
    """Looks and sends, from a thread that ends with the process.

    Args:
        settings: Who is told of what.
        source: Who tells.
        folder: Where the outbox lies.
        look: Tells what is seen; called again and again.
        stop: Set when the service stops.
        wait: Seconds between looks.
    """

    def __init__(
        self,
        settings: NotifyTable,
        source: str,
        folder: Path,
        look: Callable[[Teller], None],
        *,
        stop: threading.Event,
        wait: float = LOOK,
    ) -> None:
        self._settings = settings
        self._source = source
        self._path = folder / FILE
        self._look = look
        self._stop = stop
        self._wait = wait

    def start(self) -> None:
        """Begin, where a channel is set up."""
        if self._settings.channels():
            threading.Thread(target=self._run, name="messenger", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                outbox = Outbox(self._path)
                self._look(Teller(self._settings, self._source, outbox))
                self.send_due(outbox)
            except WardroundError as error:
                log.warning("people can't be told, later again: %s", error)
            except Exception:
                log.exception("people can't be told, later again")
            if self._stop.wait(self._wait):
                return

    def send_due(self, outbox: Outbox) -> None:
        """Send what waits, each letter once; what a channel does not take is tried again later."""
        for letter in outbox.due(self._settings.channels()):
            if self._stop.is_set():
                return
            try:
                send(self._settings, letter.channel, letter.event)
            except WardroundError as error:
                given_up = outbox.failed(letter)
                after = "given up" if given_up else "later again"
                log.warning("%s: %s was not told, %s: %s", letter.channel, letter.event.kind, after, error)
            else:
                outbox.sent(letter)
                log.info("%s: told of %s", letter.channel, letter.event.kind)
