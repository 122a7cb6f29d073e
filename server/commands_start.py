"""`wardround server start`."""

import asyncio
import os
import signal
from pathlib import Path

import typer

from server.commands_enrol import HERE, Folder, audit, open_authority


def start(folder: Folder = HERE) -> None:
    """Run the coordinator until stopped (Ctrl-C or SIGTERM): the gateway and the SuperLink behind it."""
    asyncio.run(_serve(folder))


def add_start_command(app: typer.Typer) -> None:
    """Add this module's command to `wardround server`."""
    app.command()(start)


async def _serve(folder: Path) -> None:
    """Run the coordinator of a folder; once it is ready, `superlink/url` says where its SuperLink is."""
    from server.app import RUNS
    from server.files import write_atomic
    from server.gateway import Routes
    from server.service import allow_open_files, open_service

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    allow_open_files()
    os.environ[RUNS] = str(folder.resolve() / "runs")
    async with open_service(folder, open_authority(folder), audit) as service:
        url = folder / "superlink" / "url"
        await service.serve(Routes(), stop, lambda: write_atomic(url, service.superlink.url.encode()))
