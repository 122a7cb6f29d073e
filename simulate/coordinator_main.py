"""The coordinator's process of a federation on one machine: gateway and SuperLink, until SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from server.app import RUNS
from server.commands_enrol import audit, open_authority
from server.files import write_atomic
from server.gateway import Routes
from server.service import open_service


async def serve(folder: Path) -> None:
    """Run the coordinator of a folder; once it is ready, `superlink/url` says where its SuperLink is."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    os.environ[RUNS] = str(folder.resolve() / "runs")
    async with open_service(folder, open_authority(folder), audit) as service:
        url = folder / "superlink" / "url"
        await service.serve(Routes(), stop, lambda: write_atomic(url, service.superlink.url.encode()))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
