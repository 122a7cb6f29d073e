"""A private key in a file that may be replaced while a process runs."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from shared.pki.certificates import CredentialError, load_key


class KeyFile:
    """Gives the key that is in a file now; it is read again when the file is another one.

    Args:
        path: Of the file. It is replaced as a whole, by renaming.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._key: ec.EllipticCurvePrivateKey | None = None

    def __call__(self) -> ec.EllipticCurvePrivateKey:
        """Return the key.

        Raises:
            CredentialError: The file can't be used.
        """
        try:
            status = self._path.stat()
        except OSError as error:
            raise CredentialError(f"can't be read ({error.strerror})", where=self._path) from None
        seen = status.st_ino, status.st_mtime_ns
        if self._key is None or seen != self._seen:
            self._key, self._seen = load_key(self._path), seen
        return self._key
