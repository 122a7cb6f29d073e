"""How a site's worker process comes to its host; the process loads no more than it needs."""

from dataclasses import dataclass
from pathlib import Path

from client.workers.calls import Host
from shared.text.logs import log_to_stderr


@dataclass(frozen=True)
class SiteHostFactory:
    """Builds a site's host inside its worker process, the only one that loads the networks."""

    site_file: Path

    def __call__(self) -> Host:
        """Build the host.

        Raises:
            SiteError: The site's configuration or device can't be used.
        """
        from client.work.site_worker import SiteHost  # noqa: PLC0415  (heavy, and the node has no need of it)

        log_to_stderr()
        return SiteHost(self.site_file)
