"""What a site signs about its part in a run: written from the site's own audit log, and from nothing else.

The coordinator says of which run; what the site did in it stands in the entries that were written before each
reply left.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.guard.ledger import EVENT as CHARGED
from client.settings.policy import PolicyError
from shared.audit.fields import AuditError
from shared.audit.log import Entry, log_files, parse_entry, read_tail
from shared.clock import utc_text
from shared.job.schema import JobSpec
from shared.passport.documents import Judged, Received, Statement, Trained, promise_of

_SENT = "reply-sent"


def statement_from(log: Path, job: JobSpec, run: str, layout: str, site: str) -> Statement:
    """Return what a site did in a run.

    Args:
        log: Folder of the site's audit log.
        job: Of the run; was approved here.
        run: Its name, as it stood in each request.
        layout: Digest of the layout of the job's packed model, as it is here.
        site: Name of the site.

    Raises:
        PolicyError: The site has answered nothing for this run.
        AuditError: The log can't be read, or an entry was changed.
    """
    entries = list(_entries_of(log, job.digest()))
    sent = [one.fields for one in entries if one.event == _SENT and one.fields.get("run") == run]
    trained = [fields for fields in sent if fields["phase"] == "train" and "sha256" in fields]
    judged = [fields for fields in sent if fields["phase"] == "evaluate" and "sha256" in fields]
    if not trained and not judged:
        raise PolicyError("job.run: this site has taken no part in that run", where=site)
    charged = {one.fields["round"] for one in entries if one.event == CHARGED}
    return Statement(
        site=site,
        run=run,
        job=job.digest(),
        layout=layout,
        time=utc_text("milliseconds"),
        received=_received(trained, judged),
        trained=[Trained(round=_number(fields, "round"), update=str(fields["sha256"])) for fields in trained],
        judged=[
            Judged.model_validate({"round": fields["round"], "split": fields["split"]}) for fields in judged
        ],
        promise=promise_of(job, len(charged)),
        log_head=_head(log),
    )


def _received(trained: list[dict[str, Any]], judged: list[dict[str, Any]]) -> list[Received]:
    """Return each model that came, once: what is trained in a round came after the one before."""
    models = [(_number(fields, "round") - 1, str(fields["model"])) for fields in trained]
    models += [(_number(fields, "round"), str(fields["model"])) for fields in judged]
    return [Received(after=after, model=model) for after, model in sorted(set(models))]


def _number(fields: dict[str, Any], name: str) -> int:
    return int(fields[name])


def _entries_of(log: Path, job: str) -> Iterator[Entry]:
    """Yield the entries of a job, oldest first, each as it was written.

    Raises:
        AuditError: One was changed.
    """
    mark = f'"job":"{job}"'.encode()
    for file in log_files(log):
        with file.open("rb") as lines:
            for line in lines:
                if mark not in line or not line.endswith(b"\n"):
                    continue  # most of a log, whose parsing would take seconds; or being written now
                try:
                    entry = parse_entry(line)
                except ValueError:
                    entry = None
                if entry is None or entry.content_hash() != entry.hash:
                    raise AuditError("an entry of this job was changed", where=file)
                yield entry


def _head(log: Path) -> str:
    return parse_entry(read_tail(log_files(log)[-1])[0]).head
