"""The authority's key in a process of its own: it signs what it is asked to and gives the key to nobody.

The coordinator's service, Flower's SuperLink and the processes of runs share a user. What could run as one of
them finds the key nowhere: on disk it has a passphrase, and the signer's memory is closed to its own user too
(`PR_SET_DUMPABLE`). Whoever takes over the service itself can have certificates signed while it runs.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import traceback
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from server.folder.passphrase import PASSPHRASE_FILE, open_authority
from shared.errors import WardroundError
from shared.pki.authority import SERVER_DAYS, SITE_DAYS, Authority
from shared.pki.certificates import Clock, CredentialError, parse_certificates, pem_of, utc_now

_LONGEST = 32 * 1024  # bytes of a question or an answer
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # <linux/prctl.h>


class SignerError(WardroundError):
    """The signer has ended."""


class Signer:
    """The service's end; a context manager, for any thread. It takes the place of an `Authority`.

    Args:
        pid: Of the signer's process.
        channel: To it.
        certificate: The authority's.
    """

    def __init__(self, pid: int, channel: Connection, certificate: x509.Certificate) -> None:
        self.certificate = certificate
        self.clock: Clock = utc_now
        self._pid = pid
        self._channel = channel
        self._turn = threading.Lock()

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start the signer of a coordinator's folder; call it before this process has threads.

        It asks for the passphrase itself: on the terminal, or as `read_passphrase` finds it. This process
        keeps nothing by which it could be found.

        Raises:
            CredentialError: The key can't be opened.
        """
        ours, theirs = Pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be_signer(folder, theirs, parent)
        theirs.close()
        _forget_passphrase()
        try:
            answer = json.loads(ours.recv_bytes(_LONGEST))
        except EOFError:
            os.waitpid(pid, 0)
            raise SignerError("ended before it had the key", where=folder / "ca" / "ca.key") from None
        if "problem" in answer:
            os.waitpid(pid, 0)
            raise CredentialError(answer["problem"], where=answer["where"], remedy=answer["remedy"])
        return cls(pid, ours, parse_certificates(answer["certificate"].encode())[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()  # the signer ends with its last question

    def wait(self) -> None:
        """Return once its process has ended; for one thread."""
        os.waitpid(self._pid, 0)

    def sign_site(self, request: bytes, site: str, days: int = SITE_DAYS) -> x509.Certificate:
        """Sign a site's request; see `Authority.sign_site`.

        Raises:
            CredentialError: The request is not acceptable.
            SignerError: The signer has ended.
        """
        return self._ask(request=request.decode("ascii", "replace"), site=site, days=days)

    def sign_server(
        self, key: EllipticCurvePublicKey, host: str, days: int = SERVER_DAYS
    ) -> x509.Certificate:
        """Sign the certificate of the listeners; raises as `sign_site` does."""
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return self._ask(key=pem.decode("ascii"), host=host, days=days)

    def _ask(self, **question: str | int) -> x509.Certificate:
        try:
            with self._turn:
                self._channel.send_bytes(json.dumps(question).encode())
                answer = json.loads(self._channel.recv_bytes(_LONGEST))
        except (OSError, EOFError):
            raise SignerError("the process that holds the authority's key has ended") from None
        if "problem" in answer:
            raise CredentialError(answer["problem"], where=answer["where"], remedy=answer["remedy"])
        return parse_certificates(answer["certificate"].encode())[0]


def _forget_passphrase() -> None:
    """Keep no trace of where the passphrase is, for whatever is started from here."""
    if os.environ.pop(PASSPHRASE_FILE, None) == "-":
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)


def _be_signer(folder: Path, channel: Connection, parent: int) -> NoReturn:
    """Open the key, sign until the other end is closed, and end this process."""
    try:
        _close_memory()
        if os.getppid() == parent:
            _sign(folder, channel)
    except (EOFError, OSError, KeyboardInterrupt):
        pass  # the service has ended
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # past whatever this process had before the fork


def _sign(folder: Path, channel: Connection) -> None:
    try:
        authority = open_authority(folder)
    except WardroundError as error:
        _answer(channel, error)
        return
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to both; the service ends this one
        signal.signal(number, signal.SIG_IGN)
    _answer(channel, authority.certificate)
    while True:
        _answer(channel, _signed(authority, channel.recv_bytes(_LONGEST)))


def _close_memory() -> None:
    """Let nobody but root look into this process, write no core, and end with the service."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(_PR_SET_DUMPABLE, 0)


def _signed(authority: Authority, question: bytes) -> x509.Certificate | WardroundError:
    """Sign what is asked, for no longer than certificates of its kind hold."""
    asked = json.loads(question)
    try:
        if "site" in asked:
            days = min(int(asked["days"]), SITE_DAYS)
            return authority.sign_site(asked["request"].encode(), asked["site"], days)
        key = load_pem_public_key(asked["key"].encode())
        if not isinstance(key, EllipticCurvePublicKey):
            return CredentialError("is not an EC key")
        return authority.sign_server(key, asked["host"], min(int(asked["days"]), SERVER_DAYS))
    except CredentialError as error:
        return error


def _answer(channel: Connection, answer: x509.Certificate | WardroundError) -> None:
    content = (
        {"problem": answer.problem, "where": answer.where, "remedy": answer.remedy}
        if isinstance(answer, WardroundError)
        else {"certificate": pem_of(answer).decode("ascii")}
    )
    channel.send_bytes(json.dumps(content).encode())
