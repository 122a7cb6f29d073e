"""Unix sockets in a folder that only their owner can enter, however long its path is."""

import os
import socket
import ssl
from functools import lru_cache
from pathlib import Path

LONGEST_PATH = 100
"""Bytes of a socket's path at most: sockaddr_un takes 104 (macOS) or 108 (Linux)."""

TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For httpx, which would load all authorities of the web for a socket without TLS: 19 ms for each client."""


def socket_address(path: Path) -> str:
    """Return an address for the socket at a path, for this process: a longer path goes through its folder.

    Raises:
        OSError: The path is long, and its folder is not there.
    """
    plain = str(path.absolute())
    if len(os.fsencode(plain)) <= LONGEST_PATH:
        return plain
    folder = path.absolute().parent
    about = folder.stat()
    return f"/proc/self/fd/{_opened(folder, about.st_dev, about.st_ino)}/{path.name}"


def bind(path: Path) -> socket.socket:
    """Return a new socket at a path, not listening yet, that only its owner may connect to.

    Raises:
        OSError: There is something already, or the folder can't be written.
    """
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        sock.bind(socket_address(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


@lru_cache(maxsize=64)
def _opened(folder: Path, _device: int, _inode: int) -> int:
    """Return a descriptor of a folder; it stays open, since addresses of sockets go through it."""
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)
