"""The heads of the sites' audit logs, kept in the coordinator's own log.

A site sends the head of its log with every reply, and signs that its log has grown to it from the head that
the question named. Kept here, it shows later whether the site's log was cut or rewritten: at the site with
`wardround client audit verify --head`, and at once where a site can't sign that.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flwr.app import RecordDict

from server.audit.trail import Append
from server.runs.events import Event
from shared.audit import log_heads
from shared.audit.log import log_files, parse_entry
from shared.audit.log_heads import Grown
from shared.wire.messages import MessageError

log = logging.getLogger(__name__)

_HEAD, _ENROLLED = "site-head", "site-enrolled"
_CUT = "does not show that its audit log grew from the head that the coordinator keeps"


class SiteHeads:
    """Asks each site for the head of its log, and writes the newest one once a round.

    Args:
        audit: Writes an entry.
        known: Head of each site as it was written last, see `known_heads`.
        run: Name of the run.
        keys: Returns the public keys of a site by its name, in OpenSSH's format.
    """

    def __init__(
        self, audit: Append, known: Mapping[str, str], run: str, keys: Callable[[str], Iterable[str]]
    ) -> None:
        self._audit = audit
        self._known = dict(known)
        self._run = run
        self._keys = keys
        self._unwritten: dict[str, Grown] = {}
        self._lock = threading.Lock()  # that a round is over is said by the thread that has written it

    def __call__(self, event: Event) -> None:
        """Write the heads at the end of a round.

        Raises:
            AuditError: The log can't be written.
        """
        if event.kind not in ("round_finished", "run_finished"):
            return
        with self._lock:
            for site, grown in sorted(self._unwritten.items()):
                proof = {"head_before": grown.before, "signature": grown.signature} if grown.before else {}
                self._audit(_HEAD, site=site, run=self._run, head=grown.head, **proof)
            self._unwritten.clear()

    def ask(self, site: str, question: RecordDict) -> RecordDict:
        """Return a question to a site that names the head which is known of its log, if there is one."""
        with self._lock:
            known = self._known.get(site)
        return question if known is None else log_heads.ask(question, known)

    def take(self, site: str, answer: RecordDict) -> None:
        """Take up the head that came with an answer.

        Raises:
            MessageError: It does not follow from the one that is known.
            AuditError: That can't be written into the coordinator's log.
        """
        grown = log_heads.read(answer)
        with self._lock:
            known = self._known.get(site)
            if known is not None and not (grown is not None and self._follows(site, known, grown)):
                self._note_cut(site, known, grown)
                raise MessageError(_CUT)
            if grown is not None:
                self._known[site], self._unwritten[site] = grown.head, grown

    def denied(self, site: str) -> None:
        """Take note that a site itself says that its log is another one.

        Raises:
            AuditError: The log can't be written.
        """
        with self._lock:
            if site in self._known:
                self._note_cut(site, self._known[site], None)

    def _follows(self, site: str, known: str, grown: Grown) -> bool:
        if grown.before != known or grown.number <= log_heads.number(known):
            return False
        return grown.is_signed_by(self._keys(site))

    def _note_cut(self, site: str, known: str, grown: Grown | None) -> None:
        log.warning("the audit log of %s was cut, rewritten or put back: %s is not in it", site, known)
        head = {} if grown is None else {"head": grown.head}
        self._audit("site-log-cut", site=site, run=self._run, head_before=known, **head)


def known_heads(folder: Path) -> dict[str, str]:
    """Return the newest head of each site in the coordinator's log, since the site was last enrolled.

    Args:
        folder: Of the log.
    """
    heads: dict[str, str] = {}
    marks = [f'"event":"{event}"'.encode() for event in (_HEAD, _ENROLLED)]
    for file in log_files(folder):
        with file.open("rb") as lines:
            for line in lines:
                if not any(mark in line for mark in marks):
                    continue  # most of a log; parsing it all would take seconds
                try:
                    entry = parse_entry(line)
                except ValueError:
                    continue
                if entry.event == _HEAD:
                    heads[str(entry.fields["site"])] = str(entry.fields["head"])
                elif entry.event == _ENROLLED:  # in a new folder, with a new log
                    heads.pop(str(entry.fields["site"]), None)
    return heads
