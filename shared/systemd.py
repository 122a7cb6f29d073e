"""What a service tells systemd, where that started it with `Type=notify`; see sd_notify(3)."""

import os
import socket
from contextlib import suppress


def notify(message: str) -> None:
    """Tell systemd, such as `READY=1`; nothing where it did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
