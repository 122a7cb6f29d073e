"""The hospital's page as a server on loopback, for as long as its command runs."""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from client.web.app import hospital_app
from client.web.entry import OneTimeLink
from shared.errors import SiteError

_GOODBYE_S = 1  # for answers under way when the command is stopped


def serve_page(folder: Path, address: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve the page of a site's folder until the process is told to stop.

    Args:
        folder: The site's.
        address: Of this machine's loopback.
        port: 0 takes any that is free.
        announce: Told the link that opens the page, once it does.

    Raises:
        WardroundError: The address is another one or taken, or `site.toml` can't be used.
    """
    with _listener(address, port) as listener:
        host, taken = listener.getsockname()[:2]
        link = OneTimeLink()
        app = hospital_app(folder, link, cookie=f"wardround-{taken}")
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # its lines would hold the link
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
        announce(f"http://{f'[{host}]' if ':' in host else host}:{taken}{link.path}")
        with suppress(KeyboardInterrupt):  # uvicorn passes it on when it has ended
            uvicorn.Server(config).run(sockets=[listener])


def _listener(address: str, port: int) -> socket.socket:
    try:
        place = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address)
    except ValueError:
        place = None
    if place is None or not place.is_loopback:
        raise SiteError(
            "is not an address of this machine's loopback, and the page shows patients to whoever reaches it",
            where=address,
            remedy="Leave --address out. From another machine, through SSH: ssh -L 8888:127.0.0.1:PORT HOST",
        )
    family = socket.AF_INET6 if place.version == 6 else socket.AF_INET
    try:
        return socket.create_server((str(place), port), family=family)
    except OSError as error:
        raise SiteError(
            f"can't be listened on ({error.strerror})",
            where=f"{place}, port {port}",
            remedy="Leave --port out, or name another.",
        ) from None
