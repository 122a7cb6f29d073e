"""One run as its page shows it: facts, curves, sites, and what a person may decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.report.content import words
from server.report.facts import RunFacts, finite
from server.report.sections import curve
from server.report.tables import shown_metrics
from server.runs.waiting import queued_at, waiting_for
from server.web.seen_run import SeenRun
from server.web.story import SiteNow, Story
from shared.metrics.figures import Figure
from shared.metrics.spec import metric_names
from shared.run_folder import AT_WORK
from shared.web.environment import size
from shared.web.moments import span, utc
from shared.web.tables import number

LOSS = "train_loss"
_KINDS = {"finished": "good", "running": "busy", "queued": "busy", "waiting": "warn", "stopped": "warn"}


def kind_of(status: str) -> str:
    """Return how the word for a run's state is marked."""
    return _KINDS.get(status, "bad")


@dataclass(frozen=True)
class RunView:
    """A run as it stands, for its page.

    Attributes:
        facts: What people look for first: name and value.
        sites: What each does, with the bytes that it has sent where they may be seen.
        waiting: For whom it waits.
        queued: Its place in the queue, and why.
        reason: Why it failed.
    """

    name: str
    status: str
    kind: str
    facts: Sequence[tuple[str, str]]
    sites: Sequence[tuple[str, SiteNow, int | None]]
    story: Story
    waiting: str
    queued: str
    reason: str

    @property
    def lost(self) -> list[tuple[str, SiteNow]]:
        """The sites that a run at work has lost, or left out."""
        at_work = self.status in AT_WORK
        return [(name, site) for name, site, _ in self.sites if at_work and site.kind == "bad"]


def view_of(run: SeenRun, story: Story, tables: RunFacts) -> RunView:
    """Return a run as it stands.

    Args:
        run: Its description is read anew.
        story: What its events amount to.
        tables: The run with its tables as they were after the last round.
    """
    about, status = run.read_description(), run.status
    story.expect(about.get("sites") or {})
    waiting = about.get("waiting") if status == "waiting" else None
    story.expect((waiting or {}).get("sites") or {})
    for name, standing in ((waiting or {}).get("sites") or {}).items():
        state, since = str(standing.get("state", "")), standing.get("since")
        story.sites[name] = SiteNow("waits", "warn", f"{state}{f', since {utc(since)}' if since else ''}")
    for name, reason in (about.get("left_out") or {}).items():
        story.sites[name] = SiteNow("left out", "bad", str(reason))
    sent = _bytes_by_site(tables)
    return RunView(
        name=run.path.name,
        status=status,
        kind=kind_of(status),
        facts=list(_facts(tables, status, story)),
        sites=[(name, _now(story.sites[name], status), sent.get(name)) for name in _by_need(story.sites)],
        story=story,
        waiting=waiting_for(waiting) if waiting else "",
        queued=queued_at(about.get("queue") or {}) if status == "queued" else "",
        reason=str(about.get("reason") or ""),
    )


def _now(site: SiteNow, status: str) -> SiteNow:
    """Return what a site does; in a run that is over none is at work."""
    if status in AT_WORK or site.kind != "busy":
        return site
    return replace(site, state="stopped", kind="warn")


def _by_need(sites: Mapping[str, SiteNow]) -> list[str]:
    """Return the names of sites: those first that something is wrong with."""
    order = ("bad", "warn", "busy", "good")
    return sorted(sites, key=lambda name: (order.index(sites[name].kind), name))


def _facts(facts: RunFacts, status: str, story: Story) -> list[tuple[str, str]]:
    rows = facts.rounds
    done = max(story.round, len(rows))
    nothing = "none: it is judged" if facts.job.judges else "none: data are described"
    found = [("rounds", f"{done} of {facts.job.job.rounds}" if facts.job.trains else nothing)]
    best = first_metric(facts)
    found.append(_score(facts, best))
    if status in AT_WORK:
        left = story.seconds_left()
        found.append(("time left", "–" if left is None else f"about {span(left)}"))
    moved = sum(finite(row.get("bytes")) or 0 for row in rows)
    found.append(("sent and received", size(moved)))
    lengths = [value for row in rows if (value := finite(row.get("seconds"))) is not None]
    found.append(("a round", f"{sum(lengths) / len(lengths):.1f} s" if lengths else "–"))
    return found


def _score(facts: RunFacts, metric: str) -> tuple[str, str]:
    """Return a metric of the test, if there was one; otherwise that of the newest round."""
    tested = facts.estimate(metric).value
    if tested is not None:
        return f"{name_of(metric)}, test", number(tested)
    latest = next(
        (value for row in reversed(facts.rounds) if (value := finite(row.get(metric))) is not None), None
    )
    return name_of(metric) if metric == LOSS else f"{name_of(metric)}, validation", number(latest)


def first_metric(facts: RunFacts) -> str:
    """Return the metric that tells most of a run; its loss where no round has any."""
    known = shown_metrics(facts.job)
    return next((name for name in known if any(row.get(name) for row in facts.rounds)), LOSS)


def metrics_of(facts: RunFacts) -> list[str]:
    """Return the metrics that rounds have, those that tell most first."""
    order = dict.fromkeys([*shown_metrics(facts.job), *metric_names(facts.job)])
    return [name for name in order if any(row.get(name) for row in facts.rounds)]


def name_of(metric: str) -> str:
    """Return a metric as people say it."""
    return "training loss" if metric == LOSS else words(metric)


def curves_of(facts: RunFacts, metric: str) -> list[Figure]:
    """Return the curves of a metric, or of the one that tells most, and of the loss."""
    known = metrics_of(facts)
    chosen = metric if metric in known else first_metric(facts)
    figures = [curve(facts, name) for name in dict.fromkeys((chosen, LOSS))]
    return [figure for figure in figures if figure is not None]


def _bytes_by_site(facts: RunFacts) -> Mapping[str, int]:
    sent: dict[str, Any] = {}
    for row in facts.site_rows:
        if (value := finite(row.get("bytes"))) is not None:
            sent[row["site"]] = sent.get(row["site"], 0) + int(value)
    return sent
