"""When a site may renew: late in its certificate's life, a few times a day, and once by each signed request.

The refusals leave nothing behind, so whoever has recorded a request, or has a site's key, can't make the
registry grow with them.
"""

import hashlib
import sqlite3

from cryptography import x509

from server.registry.store import RefusedError
from shared.pki.certificate_requests import parse_request
from shared.pki.certificates import openssh, public_key_of

A_DAY = 3  # renewals of one site in `DAY_S`: an answer may be lost, and the key may be changed by hand
DAY_S = 86_400


def check_renewal(
    db: sqlite3.Connection, site: str, current: x509.Certificate, request: bytes, now: int
) -> None:
    """Check whether a site may renew now.

    Args:
        db: The registry, in the transaction that issues the certificate.
        site: Name of the site.
        current: The certificate that the site shows.
        request: What the current key has signed, PEM.
        now: Seconds since 1970.

    Raises:
        RefusedError: `reason` is ``used-request``, ``too-early`` or ``too-often``.
        CredentialError: The request is not acceptable.
    """
    wanted = parse_request(request, site)
    if db.execute("SELECT 1 FROM renewal WHERE request = ?", (_digest(request),)).fetchone():
        raise RefusedError.because("used-request", "this request was used already; sign a new one")
    end, life = current.not_valid_after_utc, current.not_valid_after_utc - current.not_valid_before_utc
    half = end - life / 2
    if wanted == public_key_of(current) and now < half.timestamp():
        problem = f"the certificate can be renewed from {half:%Y-%m-%d} on; a change of key need not wait"
        raise RefusedError.because("too-early", problem)
    query = "SELECT count(*) FROM renewal WHERE site = ? AND time > ?"
    if db.execute(query, (site, now - DAY_S)).fetchone()[0] >= A_DAY:
        problem = f"the site '{site}' has renewed {A_DAY} times within a day; try again tomorrow"
        raise RefusedError.because("too-often", problem)


def note_renewal(
    db: sqlite3.Connection, site: str, current: x509.Certificate, request: bytes, now: int
) -> None:
    """Remember a request that was granted for as long as a certificate of the key that signed it is valid."""
    row = (_digest(request), site, openssh(public_key_of(current)), now)
    db.execute("INSERT INTO renewal VALUES (?, ?, ?, ?)", row)
    db.execute(
        "DELETE FROM renewal WHERE time <= ? AND NOT EXISTS"
        " (SELECT 1 FROM certificate c WHERE c.public_key = renewal.public_key AND c.expires > ?)",
        (now - DAY_S, now),
    )


def _digest(request: bytes) -> str:
    return hashlib.sha256(request).hexdigest()
