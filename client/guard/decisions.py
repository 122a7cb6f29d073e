"""What a person at the hospital decides, from whichever place: written down first, then done."""

import getpass
import os
from pathlib import Path

from client.guard.job_book import Decision, JobBook, SeenJob
from shared.audit.log import AuditLog
from shared.pki.key_file import KeyFile


def user_here() -> str:
    """Return who decides: the user of the operating system, behind `sudo` the one who called it."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def decide(folder: Path, job: SeenJob, decision: Decision, reason: str = "") -> str:
    """Write a decision into the audit log, then into the book: none counts that is not in the log.

    Args:
        folder: The site's.
        job: As it stands in the book.
        decision: About it.
        reason: In a person's own words; the log has those of them that name nobody.

    Returns:
        Who decided.

    Raises:
        WardroundError: The log or the book can't be written.
    """
    user = user_here()
    log = AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))
    log.append(f"job-{decision}", job=job.digest, user=user, **({"reason": reason} if reason else {}))
    JobBook(folder / "state.sqlite").decide(job.digest, decision, user, reason)
    return user
