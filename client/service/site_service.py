"""A site's service, put together from its folder."""

import os
import sys
import threading
from functools import partial
from importlib.metadata import version
from pathlib import Path

from client.service.clusters import cluster_of
from client.service.health import Health, socket_of
from client.service.node import Node
from client.service.presence import Presence
from client.service.renewal import Renewal
from client.service.site_numbers import site_numbers
from client.service.site_watch import SiteWatch
from client.service.state import StateFolder
from client.settings.enrolment import settle
from client.settings.site import DeviceTable, load_site
from client.work.site_host import SiteHostFactory
from client.workers.batch_workers import BatchWorkers
from client.workers.calls import Workers
from client.workers.processes import ProcessPool
from client.workers.questions import Answer
from shared.audit.log import AuditLog
from shared.errors import SiteError
from shared.flower.fleet import Fleet
from shared.memory import give_back_large_blocks
from shared.monitoring.publish import published
from shared.notify.messenger import Messenger
from shared.pki.certificates import client_context, load_key
from shared.pki.key_file import KeyFile
from shared.text.logs import FORMAT as LOG_FORMAT

_KEPT = ("PYTHONPATH", LOG_FORMAT)
"""Environment variables of the service that a job of a cluster has, too."""


def serve_folder(folder: Path, stop: threading.Event, health: str | None = None) -> None:
    """Serve the site of a folder (`site.toml`, `keys/`, `state/`) until stopped.

    Args:
        folder: The site's.
        stop: Set it to end.
        health: Where health checks are answered, besides the Unix socket in `state/`.

    Raises:
        WardroundError: Something in the folder is missing or can't be used, or another process serves it.
    """
    give_back_large_blocks()
    site_file, keys = folder / "site.toml", folder / "keys"
    config = load_site(site_file)
    if config.site.coordinator is None:
        raise SiteError("names no coordinator", where=f"{site_file}: [site] coordinator")
    state = StateFolder(folder / "state")
    addresses = [socket_of(folder / "state"), *([health] if health else [])]
    numbers = published(config.monitoring, site_numbers(folder, config), "wardround-site")
    with state.lock(), numbers, Health(addresses) as answers:
        settle(keys)
        presence = Presence(state, answers)
        url, key = f"https://{config.site.coordinator}", load_key(keys / "site.key")
        fleet = Fleet(url, key, client_context(keys), stop, presence.contact)
        log = AuditLog.open(folder / "audit", KeyFile(keys / "site.key"))
        log.append("service-started", version=version("wardround"))
        Renewal(folder, fleet, stop).start()
        source = f"/wardround/site/{config.name}"
        Messenger(config.notify, source, folder / "state", SiteWatch(folder, config).look, stop=stop).start()
        workers = partial(_workers, site_file, config.device)
        try:
            Node(config.name, fleet, workers, state=state, presence=presence, stop=stop).serve()
        finally:
            log.append("service-stopped")


def _workers(site_file: Path, device: DeviceTable) -> Workers:
    """Return the site's worker: a process beside this one, or a job of a cluster."""
    if device.launcher == "here":
        return ProcessPool(1, SiteHostFactory(site_file), threads=1)  # each job sets its own
    idle = str(device.idle_minutes * 60)

    def command(folder: Path) -> list[str]:
        program = [sys.executable, "-m", "client.work.batch_job"]
        return [*program, str(site_file.absolute()), str(folder.absolute()), idle]

    def answers() -> Answer:
        from client.guard.books_elsewhere import answers_of  # noqa: PLC0415  (no other site's service needs it)

        return answers_of(site_file.parent, load_site(site_file))

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return BatchWorkers(cluster_of(device), site_file.parent / "state" / "jobs", command, kept, answers)
