"""How the site stands: its service, its certificate, its hours, and what a person should look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from client.guard.job_book import SeenJob
from client.guard.waiting_jobs import waiting_jobs
from client.service.check import check_at_a_glance
from client.service.health import Answer
from client.service.status import service_state
from client.settings.policy import PolicyTable
from client.settings.site import load_site
from client.settings.states import OutsideHoursError, check_moment
from client.web.budgets import budgets
from shared.audit.newest_first import newest_first
from shared.errors import WardroundError
from shared.pki.certificates import load_certificate
from shared.text.plural import many

_STARTED = b'"event":"service-started"'


@dataclass(frozen=True)
class Concern:
    """Something that a person should look at.

    Attributes:
        what: It is about, in a word or two.
        said: What there is to say.
        remedy: What to do; may be empty.
        path: Of the page that says more; may be empty.
    """

    what: str
    said: str
    remedy: str = ""
    path: str = ""


@dataclass(frozen=True)
class Standing:
    """How a site stands.

    Attributes:
        health: Whether its service takes part.
        doing: What the service does, in words.
        certificate: How long it holds.
        hours: When it works, and whether that is now.
        version: Of Wardround here.
        waiting: Jobs that nobody has decided on.
        concerns: What a person should look at, besides.
    """

    site: str
    coordinator: str
    health: Answer
    doing: str
    certificate: str
    hours: str
    version: str
    waiting: Sequence[SeenJob]
    concerns: Sequence[Concern]


def standing(folder: Path) -> Standing:
    """Look at a site's folder; no image is read, and nobody else is asked.

    Raises:
        WardroundError: `site.toml` or the book of jobs can't be used.
    """
    config = load_site(folder / "site.toml")
    health, doing = service_state(folder)
    return Standing(
        config.name,
        str(config.site.coordinator or "none named"),
        health,
        doing,
        _certificate(folder),
        _hours(config.policy, config.name),
        version("wardround"),
        waiting_jobs(folder),
        list(_concerns(folder)),
    )


def _concerns(folder: Path) -> Iterator[Concern]:
    yield from (
        Concern(finding.what, finding.detail, finding.remedy or "")
        for finding in check_at_a_glance(folder)
        if finding.state != "ok"
    )
    try:
        for budget in budgets(folder):
            if budget.is_near_its_end:
                left = f"of '{budget.total.dataset}': epsilon {budget.total.left:.2f} is left"
                yield Concern("budget", left, path="/budgets")
    except WardroundError as error:
        yield Concern("budgets", error.problem, error.remedy or "", "/budgets")
    yield from _changed_settings(folder)


def _changed_settings(folder: Path) -> Iterator[Concern]:
    """Yield whether the running service has other settings, or another version, than stand here."""
    if service_state(folder)[0] == "no answer":
        return
    started = next(newest_first(folder / "audit", [_STARTED]), None)
    if started is None:
        return
    if datetime.fromisoformat(started.time).timestamp() < (folder / "site.toml").stat().st_mtime:
        what = "was changed after the service started, which does not know of it yet"
        yield Concern("site.toml", what, "Restart the service.", "/policy")
    running = str(started.fields.get("version", ""))
    if running != version("wardround"):
        what = f"the service runs version {running}, and {version('wardround')} is installed"
        yield Concern("version", what, "Restart the service.")


def _certificate(folder: Path) -> str:
    try:
        until = load_certificate(folder / "keys" / "site.crt").not_valid_after_utc
    except WardroundError:
        return "none that can be read"
    left = (until - datetime.now(UTC)).days
    return (
        f"{many(max(left, 0), 'day')}, until {until:%Y-%m-%d}" if left >= 0 else f"ended on {until:%Y-%m-%d}"
    )


def _hours(policy: PolicyTable, site: str) -> str:
    if policy.hours is None:
        return "at any time"
    now = datetime.now(UTC).astimezone()
    always = PolicyTable(hours=policy.hours)
    try:
        check_moment(always, "", now, site)
        is_now = "now"
    except OutsideHoursError:
        is_now = f"not now, at {now:%H:%M}"
    return f"{', '.join(policy.hours) or 'never'} ({is_now})"
