"""How a site's worker process comes to its host; the process loads no more than it needs."""

from dataclasses import dataclass
from pathlib import Path

from client.workers.calls import Host
from client.workers.questions import Questions
from shared.text.logs import log_to_stderr


@dataclass(frozen=True)
class SiteHostFactory:
    """Builds a site's host inside its worker process, the only one that loads the networks.

    Attributes:
        site_file: The hospital's `site.toml`.
        questions: Folder of a cluster's job, through which the service is asked, which has the site's books.
            None: they are opened here, where the service is too.
    """

    site_file: Path
    questions: Path | None = None

    def __call__(self) -> Host:
        """Build the host.

        Raises:
            SiteError: The site's configuration or device can't be used.
        """
        from client.work.site_worker import SiteHost  # noqa: PLC0415  (heavy, and the node has no need of it)

        log_to_stderr()
        return SiteHost(self.site_file, None if self.questions is None else Questions(self.questions).ask)
