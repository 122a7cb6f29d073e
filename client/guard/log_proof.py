"""The proof that the site's audit log has grown from the one that the coordinator knows."""

from shared.audit.chain import grew, holds
from shared.audit.log import AuditLog
from shared.audit.log_heads import Grown, statement
from shared.errors import SiteError

_REMEDY = (
    "At the hospital: put back the newest audit log and ledger, or find out who put back old ones. If they "
    "are lost, the federation's operator can let the site join anew."
)


class CutLogError(SiteError):
    """The log of this site is not the one that the coordinator knows."""


def check(audit: AuditLog, known: str, site: str) -> None:
    """Check that the log holds the head that the coordinator knows, before anything is done for it.

    Args:
        audit: The site's.
        known: The head; empty where the coordinator knows none.
        site: Its name.

    Raises:
        CutLogError: It does not: it was cut, rewritten or put back to an earlier state.
    """
    if known and not holds(audit.folder, known):
        raise _cut(site)


def prove(audit: AuditLog, known: str, head: str, site: str) -> Grown:
    """Return the newest head with a signature that the log has grown to it from the one that is known.

    Raises:
        CutLogError: It has not.
    """
    if not known:
        return Grown(head)
    if not grew(audit.folder, known, head):
        raise _cut(site)
    return Grown(head, known, audit.sign(statement(known, head)))


def _cut(site: str) -> CutLogError:
    return CutLogError(
        "the audit log here is not the one that the coordinator knows: it was cut or put back",
        where=site,
        remedy=_REMEDY,
    )
