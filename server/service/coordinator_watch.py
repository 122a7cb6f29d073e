"""What a coordinator looks at to tell people: its runs, whether its sites are there, certificates."""

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from server.folder.coordinator import RUNS, ServerConfig
from server.registry.enrolment import Registry
from server.registry.store import REGISTRY
from server.report.watched import worse_than_first
from shared.errors import WardroundError
from shared.notify.messenger import Teller
from shared.pki.certificates import Clock, load_certificate, utc_now
from shared.run_folder import ABOUT, description_of, status_of

_KINDS = {
    "waiting": "run-waits",
    "running": "run-began",
    "finished": "run-finished",
    "failed": "run-failed",
    "stopped": "run-stopped",
    "interrupted": "run-interrupted",
}
_BEGUN = "runs"  # under this key it is noted that earlier runs were looked at


class CoordinatorWatch:
    """Looks at a coordinator's folder.

    Args:
        folder: The coordinator's.
        settings: Of its `server.toml`.
        clock: Says when it is.
    """

    def __init__(self, folder: Path, settings: ServerConfig, clock: Clock = utc_now) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._began = clock()  # what was not heard of while nobody listened is not lost

    def look(self, teller: Teller) -> None:
        """Tell what is seen.

        Raises:
            WardroundError: A file or the registry can't be read.
        """
        self._look_at_runs(teller)
        self._look_at_sites(teller)
        name, marks = self._settings.server.name, teller.settings.certificate_days
        days = self._days(load_certificate(self._folder / "ca" / "ca.crt").not_valid_after_utc)
        teller.see_at_most("certificate", days, marks, "certificate-ends", federation=name, days=days)

    def _look_at_runs(self, teller: Teller) -> None:
        old = not teller.knows(_BEGUN)  # of what had ended before anybody wanted to know nobody is told
        for path in sorted((self._folder / RUNS).glob(f"*/{ABOUT}")):
            try:
                status, about = status_of(path.parent), description_of(path.parent)
            except (OSError, ValueError):  # being removed, or of another version
                continue
            if status == "running" and not about.get("sites"):
                continue  # it looks for its sites: whether it begins or waits for them is told then
            kind = None if old and status not in {"waiting", "running"} else _KINDS.get(status)
            fields = {"run": path.parent.name, "job": about.get("digest")}
            fields |= {key: about.get(key) for key in ("project", "researcher")}
            if status == "failed":
                fields["reason"] = about.get("reason")
            teller.see(f"run:{path.parent.name}", status, kind, **fields)
            if status == "finished":
                _look_at_model(teller, path.parent, fields, old=old)
        teller.see(_BEGUN, "seen", None)

    def _look_at_sites(self, teller: Teller) -> None:
        with closing(Registry(self._folder / REGISTRY, lambda *_, **__: None)) as registry:
            sites = [site for site in registry.sites() if site.state == "joined"]
        for site in sites:
            days, marks = self._days(site.expires), teller.settings.certificate_days
            key = f"certificate:{site.name}"
            teller.see_at_most(key, days, marks, "certificate-ends", site=site.name, days=days)
            if site.last_seen is None:
                continue
            silent = (self._clock() - max(site.last_seen, self._began)).total_seconds()
            lost = silent > teller.settings.lost_after
            if lost:
                teller.see(f"site:{site.name}", "lost", "site-lost", site=site.name)
            elif site.last_seen >= self._began:
                back = "site-back" if teller.knows(f"site:{site.name}") else None
                teller.see(f"site:{site.name}", "here", back, site=site.name)

    def _days(self, end: datetime) -> int:
        return max((end - self._clock()).days, 0)


def _look_at_model(teller: Teller, run: Path, fields: Mapping[str, Any], *, old: bool) -> None:
    """Tell once where a finished run finds its model worse than the first run of the same model did."""
    key = f"model:{run.name}"
    if teller.knows(key):
        return
    try:
        worse = [] if old else worse_than_first(run)
    except WardroundError:  # being removed, or of another version
        return
    teller.see(key, "worse" if worse else "as it was", "model-worse" if worse else None, **fields)
