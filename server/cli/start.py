"""`wardround server start`."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.folder import HERE, Folder

if TYPE_CHECKING:
    import asyncio

    from server.folder.signer import Signer


def start(folder: Folder = HERE) -> None:
    """Run the coordinator until stopped (Ctrl-C or SIGTERM): the gateway and the SuperLink behind it."""
    import asyncio

    from server.folder.signer import Signer, SignerError
    from shared.text.logs import log_to_stderr

    log_to_stderr()

    with Signer.start(folder) as signer:  # first: it is a fork, and asks for the passphrase
        if asyncio.run(_serve(folder, signer)):
            remedy = "Start the coordinator again; the log of the system says what ended the process."
            raise SignerError("the process that holds the authority's key has ended", remedy=remedy)


async def _serve(folder: Path, signer: "Signer") -> bool:
    """Run the coordinator of a folder; returns whether the signer's end was what ended it."""
    from shared.loading import loading

    with loading():
        from server.audit.log import open_audit
        from server.service.coordinator_service import run_service, stop_on_signals

    stop = stop_on_signals()
    audit = open_audit(folder)
    orphaned = _watch(signer, stop)
    await run_service(folder, signer, audit.append, stop)
    return orphaned.is_set()


def _watch(signer: "Signer", stop: "asyncio.Event") -> threading.Event:
    """Stop when the signer's process ends; the event that is returned says that it has."""
    import asyncio

    ended, loop = threading.Event(), asyncio.get_running_loop()

    def watch() -> None:
        signer.wait()
        ended.set()
        with suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, name="signer", daemon=True).start()
    return ended
