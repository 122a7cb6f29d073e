"""Certificate signing requests (PKCS#10): what a site asks for, and what of it is granted."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.x509.oid import NameOID

from shared.pki.certificates import UNREADABLE, CredentialError, common_name, public_key_of

LONGEST_REQUEST = 8192  # bytes


def certificate_request(key: EllipticCurvePrivateKey, site: str) -> bytes:
    """Return a request (PKCS#10, PEM) for a site's certificate; it asks for nothing but the name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA384())
    return request.public_bytes(serialization.Encoding.PEM)


def requested_name(pem: bytes) -> str:
    """Return the name for which a request asks, before anything else of it is checked.

    Raises:
        CredentialError: It is not a request, or has not exactly one name.
    """
    request = _request(pem)
    try:
        name = common_name(request.subject)
    except UNREADABLE:
        raise CredentialError("the request can't be read") from None
    if name is None:
        raise CredentialError("the request does not have exactly one name")
    return name


def renewal_statement(request: bytes) -> bytes:
    """Return what a site signs with its current key to renew its certificate."""
    return b"wardround renewal v1\0" + request


def parse_request(pem: bytes, site: str) -> EllipticCurvePublicKey:
    """Check a certificate request and return its public key.

    Raises:
        CredentialError: It is not a request, its signature is wrong, its key is not EC P-384, it is for
            another name than `site`, or it asks for more than a name.
    """
    request = _request(pem)
    try:
        genuine = request.is_signature_valid
        extras = len(request.extensions) + len(request.attributes)
        subject = request.subject
    except UNREADABLE:
        raise CredentialError("the request can't be read") from None
    key = public_key_of(request)
    if not genuine:
        raise CredentialError("the request is not signed by its own key")
    if common_name(subject) != site or len(subject) != 1:
        raise CredentialError(f"the request is not for the site '{site}'")
    if extras:
        raise CredentialError("the request asks for more than a name")
    return key


def _request(pem: bytes) -> x509.CertificateSigningRequest:
    if len(pem) > LONGEST_REQUEST:
        raise CredentialError("the request is too long")
    try:
        return x509.load_pem_x509_csr(pem)
    except UNREADABLE:
        raise CredentialError("is not a certificate request in PEM form") from None
