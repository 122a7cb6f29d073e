"""A running service renews its certificate by itself, when a third of its life is left."""

import logging
import threading
from datetime import datetime
from pathlib import Path

from client.settings.enrolment import renew
from shared.errors import WardroundError
from shared.flower.fleet import Fleet
from shared.pki.certificates import Clock, client_context, load_certificate, load_key, renewal_due, utc_now

_log = logging.getLogger(__name__)
_LONGEST_WAIT = 60.0  # seconds between looks: the clock may be set, or someone renews by hand
_LEAST_WAIT = 1.0
_RETRY = 0.1  # part of the time left after which a renewal that failed is tried again


class Renewal:
    """Looks after the certificate, from a thread that ends with the process.

    Args:
        folder: The site's.
        fleet: Uses the new certificate, once there is one.
        stop: Set when the service stops.
        clock: Says when it is.
    """

    def __init__(self, folder: Path, fleet: Fleet, stop: threading.Event, clock: Clock = utc_now) -> None:
        self._folder = folder
        self._keys = folder / "keys"
        self._fleet = fleet
        self._stop = stop
        self._clock = clock
        self._used = load_certificate(self._keys / "site.crt")

    def start(self) -> None:
        """Begin to look after it."""
        threading.Thread(target=self._run, name="renewal", daemon=True).start()

    def _run(self) -> None:
        wait = self._until(renewal_due(self._used))
        while not self._stop.wait(wait):
            try:
                self._look()
                wait = self._until(renewal_due(self._used))
            except WardroundError as error:
                _log.warning("the certificate can't be renewed, later again: %s", error)
                wait = max(self._until(self._used.not_valid_after_utc) * _RETRY, _LEAST_WAIT)

    def _until(self, moment: datetime) -> float:
        """Return the seconds to wait for a moment, but not too many."""
        return min(max((moment - self._clock()).total_seconds(), 0.0), _LONGEST_WAIT)

    def _look(self) -> None:
        """Renew the certificate if it is time, and use what is newest.

        Raises:
            WardroundError: The coordinator can't be reached or refuses, or a file can't be used.
        """
        newest = load_certificate(self._keys / "site.crt")
        if self._clock() >= renewal_due(newest):
            newest = renew(self._folder)
        if newest != self._used:
            self._fleet.renew(load_key(self._keys / "site.key"), client_context(self._keys))
            self._used = newest
            _log.info("the certificate was renewed; it ends on %s", f"{newest.not_valid_after_utc:%Y-%m-%d}")
