"""Where an archive sends to that knows C-MOVE alone: open for one series at a time, and for this archive."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext

from client.pacs.archive_settings import PacsError
from client.pacs.arrivals import Arrivals
from client.pacs.pull_settings import DimseTable

_SILENCE = 60.0  # seconds


@contextmanager
def receiving(
    table: DimseTable,
    contexts: list[PresentationContext],
    store: Callable[[evt.Event], int],
    arrivals: Arrivals,
    tls: ssl.SSLContext | None,
) -> Iterator[None]:
    """Take what the archive sends meanwhile, under our title and from its own.

    Args:
        table: Of the archive, with `receive_port`.
        contexts: What may be sent.
        store: Takes an object, and returns its status.
        arrivals: Bounds what comes.
        tls: By which the archive's certificate is checked, if it uses TLS; its address is checked anyway.

    Raises:
        PacsError: The port can't be used, or the archive's name leads nowhere.
    """
    addresses = _addresses(table)

    def opened(event: evt.Event) -> None:
        (arrivals.watch if _plain(event.address[0]) in addresses else arrivals.refuse)(event)

    entity = AE(ae_title=table.calling)
    entity.require_called_aet, entity.require_calling_aet = True, [table.called]
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _SILENCE
    entity.supported_contexts = contexts
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_CONN_OPEN, opened)]
    place = (table.receive_address or _own_address(table), table.receive_port)
    try:
        entity.start_server(place, block=False, evt_handlers=handlers, ssl_context=tls)
    except OSError as error:
        raise PacsError(
            f"receive_port {table.receive_port} can't be used on {place[0]} ({error.strerror})",
            where="[dimse]",
            remedy="Is it another program's? The archive must send to the port that is named here.",
        ) from None
    try:
        yield
    finally:
        entity.shutdown()


def _addresses(table: DimseTable) -> set[str]:
    try:
        return {_plain(str(found[4][0])) for found in socket.getaddrinfo(table.host, table.port)}
    except OSError as error:
        raise PacsError(f"is unknown ({error.strerror})", where=table.host) from None


def _plain(address: str) -> str:
    """Return an address of IPv4 as such, where a socket of IPv6 says it."""
    return address.removeprefix("::ffff:")


def _own_address(table: DimseTable) -> str:
    """Return this machine's address in the archive's network; nothing is sent."""
    kind, _, _, _, place = socket.getaddrinfo(table.host, table.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(kind, socket.SOCK_DGRAM) as way:
        way.connect(place)
        return str(way.getsockname()[0])
