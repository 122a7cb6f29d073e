"""The heads of the sites' audit logs, kept in the coordinator's own log.

A site sends the head of its log with every reply. Kept here, it shows later whether the site's log was cut or
rewritten: at the site with `wardround client audit verify --head`, and at once where a head goes back.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from server.audit_trail import Append
from server.events import Event
from shared.audit import log_files, parse_entry

log = logging.getLogger(__name__)

_EVENT = "site-head"


class SiteHeads:
    """Listens to a run: writes each site's newest head once a round, and at once where a head goes back.

    Args:
        audit: Writes an entry.
        known: Head of each site as it was written last, see `known_heads`.
        run: Name of the run.
    """

    def __init__(self, audit: Append, known: Mapping[str, str], run: str) -> None:
        self._audit = audit
        self._known = dict(known)
        self._run = run
        self._unwritten: dict[str, str] = {}
        self._lock = threading.Lock()  # that a round is over is said by the thread that has written it

    def __call__(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            AuditError: The log can't be written.
        """
        with self._lock:
            if event.kind == "audit_head":
                self._arrived(event.site, str(event.data["head"]))
            elif event.kind in ("round_finished", "run_finished"):
                for site, head in sorted(self._unwritten.items()):
                    self._audit(_EVENT, site=site, run=self._run, head=head)
                self._unwritten.clear()

    def _arrived(self, site: str, head: str) -> None:
        before = self._known.get(site)
        self._known[site] = self._unwritten[site] = head
        if before is not None and not _follows(before, head):
            log.warning("the audit log of %s was cut or rewritten: %s came after %s", site, head, before)
            self._audit("site-log-cut", site=site, run=self._run, head=head, head_before=before)


def known_heads(folder: Path) -> dict[str, str]:
    """Return the newest head of each site in the coordinator's log.

    Args:
        folder: Of the log.
    """
    heads: dict[str, str] = {}
    mark = f'"event":"{_EVENT}"'.encode()
    for file in log_files(folder):
        with file.open("rb") as lines:
            for line in lines:
                if mark not in line:
                    continue  # most of a log; parsing it all would take seconds
                try:
                    fields = parse_entry(line).fields
                except ValueError:
                    continue
                heads[str(fields["site"])] = str(fields["head"])
    return heads


def _follows(before: str, head: str) -> bool:
    """Say if a head can come after another one: it has a higher number, or is the same."""
    return head == before or int(head.partition(":")[0]) > int(before.partition(":")[0])
