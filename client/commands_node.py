"""`wardround client start` and `status`: the site's service."""

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--dir", help="The site's folder, with site.toml and keys/.")]


def add_node_commands(app: typer.Typer) -> None:
    """Add this module's commands to `wardround client`."""
    app.command()(start)
    app.command()(status)


def start(folder: Folder = Path()) -> None:
    """Serve the coordinator's requests until stopped (Ctrl-C or SIGTERM)."""
    import logging
    import signal
    import sys
    import threading

    from client.node import LOG_FORMAT, open_node

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=LOG_FORMAT, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    open_node(folder, stop).serve()


def status(folder: Folder = Path()) -> None:
    """Say what the site's service is doing."""
    from client.state import StateFolder

    told = StateFolder(folder / "state").told()
    if not told:
        print("the service has never run here")
        return
    detail = f" ({told['detail']})" if told["detail"] else ""
    print(f"{told['status']}{detail} since {told['since']}, process {told['pid']}")
