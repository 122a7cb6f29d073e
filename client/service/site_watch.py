"""What a site's service looks at to tell people: jobs that wait, its certificate, its privacy budgets."""

from pathlib import Path

from client.guard.ledger import LEDGER
from client.guard.waiting_jobs import waiting_jobs
from client.settings.site import SiteConfig
from shared.audit.verify import entries
from shared.notify.messenger import Teller
from shared.pki.certificates import load_certificate, utc_now


class SiteWatch:
    """Looks at a site's folder.

    Args:
        folder: The site's.
        config: Its settings, as the service has read them.
    """

    def __init__(self, folder: Path, config: SiteConfig) -> None:
        self._folder = folder
        self._config = config
        self._ledger_size = -1

    def look(self, teller: Teller) -> None:
        """Tell what is seen.

        Raises:
            WardroundError: A file can't be read.
        """
        for job in waiting_jobs(self._folder):
            fields = {"name": job.name, "researcher": job.researcher}
            teller.see(f"job:{job.digest}", "waits", "job-waits", job=job.digest, **fields)
        certificate = load_certificate(self._folder / "keys" / "site.crt")
        days = max((certificate.not_valid_after_utc - utc_now()).days, 0)
        marks = teller.settings.certificate_days
        teller.see_at_most("certificate", days, marks, "certificate-ends", site=self._config.name, days=days)
        self._look_at_budgets(teller)

    def _look_at_budgets(self, teller: Teller) -> None:
        """Tell which budgets near their end, by what the audit log says of their last rounds."""
        ledger = self._folder / LEDGER
        size = ledger.stat().st_size + ledger.stat().st_mtime_ns if ledger.exists() else 0
        if size == self._ledger_size:
            return
        left: dict[str, float] = {}
        for entry in entries(self._folder / "audit"):
            if entry.event == "privacy-spent" and "left" in entry.fields:
                left[str(entry.fields["dataset"])] = float(entry.fields["left"])
        for dataset, cap in self._config.policy.privacy.items():
            share = left.get(dataset, cap.epsilon) / cap.epsilon
            marks = teller.settings.budget_left
            teller.see_at_most(f"budget:{dataset}", share, marks, "budget-ends", dataset=dataset, left=share)
        self._ledger_size = size
