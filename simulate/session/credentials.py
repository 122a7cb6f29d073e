"""Keys and certificates of simulated sites, of an authority in memory: the same in every worker.

They are derived from the sites' names and protect nothing; they let the same code run as between hospitals.
"""

from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)

from client.work.secure_aggregation import Credentials
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.privacy.secagg.identity import Identity, Trust
from shared.seeds import seed_of


def simulated_credentials(site: str) -> Credentials:
    """Return the credentials of a simulated site."""
    authority, key = _authority(), _key("site", site)
    certificate = authority.sign_site(certificate_request(key, site), site)
    return Credentials(Identity(site, key, certificate), Trust(authority.certificate))


@lru_cache(maxsize=1)
def _authority() -> Authority:
    return Authority.in_memory(_key("authority", ""), "simulation", "localhost")


def _key(kind: str, name: str) -> EllipticCurvePrivateKey:
    return derive_private_key(seed_of("simulated", kind, name) + 1, SECP384R1())
