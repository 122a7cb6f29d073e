"""Counts on their way to the coordinator, each written into the audit log before it leaves."""

import hashlib
import json
from pathlib import Path
from typing import Any

from client.guard.decisions import user_here
from client.settings.site import load_site
from shared.audit.log import AuditLog
from shared.errors import SiteError
from shared.pki.certificates import client_context
from shared.pki.key_file import KeyFile
from shared.wire.counts import COUNTS, WITHDRAW, ToldCounts
from shared.wire.https import TIMEOUT, exchange
from shared.wire.proxy import open_client


def send_counts(folder: Path, counts: ToldCounts) -> None:
    """Tell the coordinator counts, in place of those that it has of the dataset.

    Args:
        folder: The site's.
        counts: As the policy lets them leave.

    Raises:
        WardroundError: The audit log can't be written, or the coordinator can't be reached or refuses.
    """
    body = counts.model_dump(mode="json")
    content = json.dumps(body).encode()
    digest = hashlib.sha256(content).hexdigest()
    _log(folder).append(
        "counts-told", dataset=counts.dataset, sha256=digest, bytes=len(content), user=user_here()
    )
    _send(folder, COUNTS, body)


def withdraw_counts(folder: Path, dataset: str) -> None:
    """Let the coordinator forget the counts of a dataset; raises as `send_counts` does."""
    _log(folder).append("counts-withdrawn", dataset=dataset, user=user_here())
    _send(folder, WITHDRAW, {"dataset": dataset})


def _log(folder: Path) -> AuditLog:
    return AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))


def _send(folder: Path, path: str, body: dict[str, Any]) -> None:
    coordinator = load_site(folder / "site.toml").site.coordinator
    if coordinator is None:
        raise SiteError("[site] coordinator: is missing", where=folder / "site.toml")
    url = f"https://{coordinator}"
    with open_client(url, client_context(folder / "keys"), timeout=TIMEOUT) as client:
        exchange(client, "POST", f"{url}{path}", body)
