"""What a site tells Prometheus: jobs, budgets, its certificate, what it sent, errors; nothing about patients.

Names of datasets are the only words that are not Wardround's own, and there are as many as `site.toml` has.
"""

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from client.guard.job_book import Decision, JobBook
from client.service.presence import ONLINE, WORKING
from client.service.state import told
from client.settings.site import SiteConfig
from shared.monitoring.audit_count import AuditCount
from shared.monitoring.publish import Numbers
from shared.pki.certificates import load_certificate

PREFIX = "wardround_site"
COUNTED = (
    *("reply-sent", "request-refused", "request-failed", "privacy-spent", "sum-unmasked"),
    *("job-seen", "job-approved", "job-denied", "service-started", "certificate-renewed"),
)
"""Events of the audit log that are told."""


def site_numbers(folder: Path, config: SiteConfig) -> Numbers:
    """Return the numbers of a site's folder.

    Args:
        folder: The site's.
        config: Its settings, as the service has read them.
    """
    source = _Site(folder, config)
    return Numbers(
        PREFIX,
        {"service": source.service, "jobs": source.jobs, "log": source.log, "certificate": source.ends},
    )


class _Site:
    """Reads a site's folder."""

    def __init__(self, folder: Path, config: SiteConfig) -> None:
        self._folder = folder
        self._config = config
        self._count = AuditCount(folder / "audit")

    def service(self) -> Iterator[Metric]:
        """Yield who this is, and whether it takes part."""
        about = GaugeMetricFamily(f"{PREFIX}_info", "Which site this is.", labels=["site", "version"])
        about.add_metric([self._config.name, version("wardround")], 1)
        yield about
        doing = told(self._folder / "state").get("status")
        text = "1 while the service takes part in its federation."
        yield GaugeMetricFamily(f"{PREFIX}_takes_part", text, value=float(doing in {ONLINE, WORKING}))

    def jobs(self) -> Iterator[Metric]:
        """Yield how many jobs wait, were approved and denied."""
        book = self._folder / "state.sqlite"
        found = Counter(job.decision for job in JobBook(book).jobs()) if book.exists() else Counter()
        jobs = GaugeMetricFamily(
            f"{PREFIX}_jobs", "Jobs that have arrived, by decision.", labels=["decision"]
        )
        for decision in get_args(Decision):
            jobs.add_metric([decision], found[decision])
        yield jobs

    def log(self) -> Iterator[Metric]:
        """Yield what the audit log counts: rounds, bytes, errors, privacy that is left."""
        self._count.update()
        yield CounterMetricFamily(f"{PREFIX}_rounds", "Updates that were sent.", value=self._count.rounds)
        text = "Bytes of all replies that were sent."
        yield CounterMetricFamily(f"{PREFIX}_sent_bytes", text, value=self._count.bytes)
        events = CounterMetricFamily(
            f"{PREFIX}_events", "Entries of the audit log, by event.", labels=["event"]
        )
        for event in COUNTED:
            events.add_metric([event], self._count.events[event])
        yield events
        yield from self._privacy()

    def _privacy(self) -> Iterator[Metric]:
        labels = ["dataset"]
        text = "Epsilon that a dataset with a budget had lost after its newest private round."
        spent = GaugeMetricFamily(f"{PREFIX}_epsilon_spent", text, labels=labels)
        text = "Epsilon that was left of a dataset's budget after its newest private round."
        left = GaugeMetricFamily(f"{PREFIX}_epsilon_left", text, labels=labels)
        cap = GaugeMetricFamily(f"{PREFIX}_epsilon_budget", "Epsilon of a dataset's budget.", labels=labels)
        for dataset, own in self._config.policy.privacy.items():
            spent.add_metric([dataset], self._count.spent.get(dataset, 0.0))
            left.add_metric([dataset], self._count.left.get(dataset, own.epsilon))
            cap.add_metric([dataset], own.epsilon)
        yield from (spent, left, cap)

    def ends(self) -> Iterator[Metric]:
        """Yield when the certificate ends."""
        until = load_certificate(self._folder / "keys" / "site.crt").not_valid_after_utc
        text = "When the site's certificate ends, in seconds since 1970."
        yield GaugeMetricFamily(f"{PREFIX}_certificate_ends_timestamp_seconds", text, value=until.timestamp())
