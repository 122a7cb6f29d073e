"""What a coordinator tells Prometheus: runs, sites, certificates, bytes, errors; nothing about patients.

Names of sites are the only words that are not Wardround's own; of runs the states are counted, since there
are ever more of them.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.folder.coordinator import RUNS, ServerConfig
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from shared.errors import RunError
from shared.monitoring.audit_count import AuditCount
from shared.monitoring.publish import Numbers
from shared.pki.certificates import load_certificate
from shared.run_folder import ABOUT, AT_WORK, RunRecord, Status, status_of

PREFIX = "wardround_coordinator"
COUNTED = (
    *("run-submitted", "run-resumed", "run-stopped", "site-enrolled", "site-renewed", "site-revoked"),
    *("site-log-cut", "enrolment-refused", "renewal-refused", "certificate-refused", "handshake-refused"),
    *("connection-dropped", "site-request-refused", "token-refused", "log-in-failed", "log-in-blocked"),
)
"""Events of the audit log that are told."""
_UNKNOWN = "unknown"


def coordinator_numbers(folder: Path, settings: ServerConfig) -> Numbers:
    """Return the numbers of a coordinator's folder.

    Args:
        folder: The coordinator's.
        settings: Of its `server.toml`.
    """
    source = _Coordinator(folder, settings)
    parts = {"service": source.service, "runs": source.runs, "sites": source.sites, "log": source.log}
    return Numbers(PREFIX, parts)


class _Coordinator:
    """Reads a coordinator's folder; of a run that has ended it remembers what it found."""

    def __init__(self, folder: Path, settings: ServerConfig) -> None:
        self._folder = folder
        self._settings = settings
        self._count = AuditCount(folder / "audit")
        self._ended: dict[str, tuple[str, int, int]] = {}

    def service(self) -> Iterator[Metric]:
        """Yield who this is, and when its authority's certificate ends."""
        about = GaugeMetricFamily(f"{PREFIX}_info", "Which one this is.", labels=["federation", "version"])
        about.add_metric([self._settings.server.name, version("wardround")], 1)
        yield about
        until = load_certificate(self._folder / "ca" / "ca.crt").not_valid_after_utc
        text = "When the authority's certificate ends, in seconds since 1970."
        yield GaugeMetricFamily(f"{PREFIX}_authority_ends_timestamp_seconds", text, value=until.timestamp())

    def runs(self) -> Iterator[Metric]:
        """Yield the runs by their state, and what all of them together did."""
        paths = sorted(path.parent for path in (self._folder / RUNS).glob(f"*/{ABOUT}"))
        found = [self._look(path) for path in paths]
        states = Counter(status for status, _, _ in found)
        runs = GaugeMetricFamily(f"{PREFIX}_runs", "Runs in their folder, by state.", labels=["state"])
        for state in (*get_args(Status), _UNKNOWN):
            runs.add_metric([state], states[state])
        yield runs
        text = "Rounds that the runs in their folder have done."
        yield GaugeMetricFamily(f"{PREFIX}_rounds", text, value=sum(rounds for _, rounds, _ in found))
        text = "Bytes that sites have sent for the runs in their folder."
        yield GaugeMetricFamily(f"{PREFIX}_received_bytes", text, value=sum(size for _, _, size in found))

    def _look(self, path: Path) -> tuple[str, int, int]:
        """Return a run's state, its rounds and the bytes that its sites have sent."""
        status = status_of(path)
        if (known := self._ended.get(path.name)) is not None and known[0] == status:
            return known
        try:
            run = RunRecord.read(path)
            found = status, run.last_round(), sum(run.bytes_sent().values())
        except RunError:  # being made or removed, or of another version
            return _UNKNOWN, 0, 0
        if status not in AT_WORK:
            self._ended[path.name] = found
        return found

    def sites(self) -> Iterator[Metric]:
        """Yield when each site was seen, and when its certificate ends."""
        with closing(Registry(self._folder / REGISTRY, lambda *_, **__: None)) as registry:
            sites = [site for site in registry.sites() if site.state == "joined"]
        text = "When a site was last heard of, in seconds since 1970; 0 for never."
        seen = GaugeMetricFamily(f"{PREFIX}_site_seen_timestamp_seconds", text, labels=["site"])
        text = "When a site's certificate ends, in seconds since 1970."
        ends = GaugeMetricFamily(f"{PREFIX}_site_certificate_ends_timestamp_seconds", text, labels=["site"])
        for site in sites:
            seen.add_metric([site.name], site.last_seen.timestamp() if site.last_seen else 0.0)
            ends.add_metric([site.name], site.expires.timestamp())
        yield GaugeMetricFamily(f"{PREFIX}_sites", "Sites that belong to the federation.", value=len(sites))
        yield from (seen, ends)

    def log(self) -> Iterator[Metric]:
        """Yield what the audit log counts: what was refused, dropped, submitted."""
        self._count.update()
        text = "Entries of the audit log, by event."
        events = CounterMetricFamily(f"{PREFIX}_events", text, labels=["event"])
        for event in COUNTED:
            events.add_metric([event], self._count.events[event])
        yield events
