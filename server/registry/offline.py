"""Joining by files: the request comes as a file, the certificate goes back as one."""

from pathlib import Path

from cryptography import x509

from shared.pki.authority import Signatory
from shared.pki.certificate_requests import LONGEST_REQUEST
from shared.pki.certificates import CredentialError, pem_of, write_file


def read_request(file: Path) -> bytes:
    """Read a request file.

    Raises:
        CredentialError: It can't be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(LONGEST_REQUEST + 1)
    except OSError as error:
        raise CredentialError(f"can't be read ({error.strerror})", where=file) from None


def check_spoken(spoken: str, key: str, file: Path) -> None:
    """Compare the fingerprint that the hospital reads out with that of the request.

    Raises:
        CredentialError: They differ.
    """
    if spoken.strip() != key:
        problem = "the request holds another key than the hospital reads out"
        raise CredentialError(problem, where=file, remedy="It may have been exchanged: don't sign.")


def require_new(file: Path) -> None:
    """Check that a file is not there.

    Raises:
        CredentialError: It is.
    """
    if file.exists():
        raise CredentialError("exists already; nothing is overwritten", where=file)


def write_answer(file: Path, certificate: x509.Certificate, authority: Signatory) -> None:
    """Write the site's certificate and the authority's into one file.

    Raises:
        CredentialError: The file can't be written.
    """
    write_file(file, pem_of(certificate) + pem_of(authority.certificate), 0o644)
