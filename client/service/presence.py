"""What a site's service is doing, told to all who ask: `client status`, health probes and systemd."""

import threading

from client.service.health import Health
from client.service.state import StateFolder
from shared.systemd import notify
from shared.text.printable import printable

ONLINE, WORKING = "online", "working"


class Presence:
    """Tells what the service is doing; from any thread.

    Args:
        state: Holds the status file.
        health: Serves while the site is online or at work, and the coordinator can be reached.
    """

    def __init__(self, state: StateFolder, health: Health) -> None:
        self._state = state
        self._health = health
        self._lock = threading.Lock()
        self._doing = ("starting", "")
        self._away: str | None = None

    def tell(self, status: str, detail: str = "") -> None:
        """Say what the service is doing from now on."""
        with self._lock:
            self._doing = (status, detail)
            self._publish()

    def contact(self, reason: str | None) -> None:
        """Say why the coordinator can't be reached, or None: that it can be again."""
        with self._lock:
            self._away = reason
            self._publish()

    def _publish(self) -> None:
        status, detail = self._doing
        if self._away is not None:
            status, detail = "waiting for the coordinator", self._away
        detail = printable(detail)  # a line break would begin another word to systemd
        self._state.tell(status, detail)
        self._health.serving(yes=status in {ONLINE, WORKING})
        notify(f"STATUS={status} {detail}".strip())
