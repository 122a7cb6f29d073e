"""`wardround server start`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import typer

from server.commands_enrol import HERE, Folder, open_authority

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start(folder: Folder = HERE) -> None:
    """Run the coordinator until stopped (Ctrl-C or SIGTERM): the gateway and the SuperLink behind it."""
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=LOG_FORMAT, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    asyncio.run(_serve(folder))


def add_start_command(app: typer.Typer) -> None:
    """Add this module's command to `wardround server`."""
    app.command()(start)


async def _serve(folder: Path) -> None:
    """Run the coordinator of a folder."""
    import logging
    from importlib.metadata import version

    from server.audit_log import open_audit
    from server.coordinator import COORDINATOR
    from server.deploy import Coordinator
    from server.gateway import Routes
    from server.recovery import Recovery
    from server.runs_api import RunsApi
    from server.service import allow_open_files, open_service
    from shared.flower.runs import Runs

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    allow_open_files()
    os.environ[COORDINATOR] = str(folder.resolve())
    audit = open_audit(folder)
    async with open_service(folder, open_authority(folder), audit.append) as service:
        link = service.superlink

        def connect() -> Runs:
            return Runs(link.socket)

        runs = RunsApi(folder / "runs", connect, service.trail)
        recovery = Recovery(link, Coordinator(folder / "runs", connect, audit.append))
        watching = asyncio.create_task(recovery.watch())
        audit.append("service-started", version=version("wardround"))
        try:
            await service.serve(
                Routes(people=runs.routes()), stop, lambda: logging.getLogger(__name__).info("ready")
            )
        finally:
            watching.cancel()
        audit.append("service-stopped")
