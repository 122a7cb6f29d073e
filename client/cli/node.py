"""`wardround client start` and `status`: the site's service."""

from typing import Annotated

import typer

from client.cli.enrol import HERE, Folder


def add_node_commands(app: typer.Typer) -> None:
    """Add this module's commands to `wardround client`."""
    app.command()(start)
    app.command()(status)


def start(
    folder: Folder = HERE,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Answer gRPC health checks here too, without TLS: on loopback, or inside a pod.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the coordinator's requests until stopped (Ctrl-C or SIGTERM)."""
    import logging
    import signal
    import sys
    import threading

    from client.service.site_service import serve_folder
    from client.work.site_host import LOG_FORMAT
    from shared.text.printable import log_to

    log_to(logging.StreamHandler(sys.stderr), LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    serve_folder(folder, stop, health)


def status(folder: Folder = HERE) -> None:
    """Say what the site's service is doing; exit code 0 if the site takes part, 3 if not."""
    from client.service.status import service_state
    from shared.text.printable import printable

    answer, line = service_state(folder)
    print(printable(line))
    if answer != "serving":
        raise typer.Exit(3)
