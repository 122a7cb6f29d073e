"""The coordinator's process of a federation on one machine: Flower's SuperLink, watched, until SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from server.app import RUNS
from server.files import write_atomic
from server.superlink import SuperLink


async def serve(folder: Path) -> None:
    """Run the SuperLink of a coordinator's folder; `superlink/url` says where, once it serves."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    os.environ[RUNS] = str(folder.resolve() / "runs")
    async with SuperLink(folder / "superlink") as superlink:
        await superlink.wait_healthy()
        write_atomic(folder / "superlink" / "url", superlink.url.encode())
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
