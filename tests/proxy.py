"""An HTTP proxy on this machine, for what is to reach its servers through one."""

import base64
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """An HTTP proxy on loopback: every way that is asked for ends at one address.

    Args:
        user: ``name:password`` that it wants.
        refusal: The status with which it refuses all.
    """

    def __init__(self, to: str, user: str | None = None, refusal: int | None = None) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                proxy.asked.append(self.path)
                given = self.headers.get("proxy-authorization", "").removeprefix("Basic ")
                if user is not None and base64.b64decode(given).decode() != user:
                    self.send_response_only(407, "Proxy Authentication Required")
                    self.end_headers()
                elif refusal is not None:
                    self.send_response_only(refusal)
                    self.end_headers()
                else:
                    self.send_response_only(200)
                    self.end_headers()
                    self.carry(to)

            def carry(self, to: str) -> None:
                host, _, port = to.rpartition(":")
                with socket.create_connection((host, int(port))) as far:
                    back = threading.Thread(target=pass_on, args=(far, self.connection))
                    back.start()
                    pass_on(self.connection, far)
                    back.join()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
