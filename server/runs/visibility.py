"""What people are shown of single hospitals: what each one's policy allows them (`figures_for`), and no more.

The run's folder holds all of it. This is the one place that takes out of it what somebody may not see, before
it goes to them over the people's listener.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from typing import Any, BinaryIO

from server.registry.people import Role
from server.runs.lone_sites import JUDGED, OF_TRAINING, TRAINED, lone_sites, tells
from shared.run_folder import ABOUT, CHECKPOINT, EVENTS, ROUNDS, SITES, TEST

FILTERED = (ROUNDS, SITES, EVENTS, ABOUT, TEST)
WITHHELD = (CHECKPOINT,)  # has rows of single sites, and is of use to nobody but the coordinator
KEPT_BACK = "its figures stay with the hospital"

_BY_SITE = ("only_judging", "left_out", "bytes_sent", "late", "figures")
_OF_SITES = ("described", "decisions")  # sums, with the sites behind them
_OF_RUN = frozenset(
    {
        *("format", "status", "started", "finished", "job", "digest", "project", "researcher"),
        *("flower_run", "reason", "remedy"),
        *("queue", "priority", "waiting", "joined", "rounds", "tested_round", "models"),
        *("versions", "git_commit", "hardware"),
    }
)
_OWN_REASONS = ("stopped", "queued")  # states whose reasons are never a site's words
_OF_EVENT = ("time", "event", "round", "site", "phase", "reason")
_OF_ROW = ("round", "site", "phase")
_WORDS = re.compile(
    r"""
    # What counts rounds, sites and seconds of waiting, or is the job's own demand, tells of no patient.
    (?P<of_run> (?<![\w.,-])
      (?: round\ \d+ | \d+\ sites? | within\ [\d.]+\ s | the\ job\ (?:needs|asks\ for)\ \d+ )
      (?![\w-]|[.,]\d) )
    | \S*\d\S*
    """,
    re.VERBOSE,
)


class Figures:
    """What one person may see of a run.

    Args:
        description: What `run.json` says: which sites take part, and whom each one lets see its figures.
        role: Of the person, who belongs to the run's project or is an operator; None may see everything.
    """

    def __init__(self, description: Mapping[str, Any], role: Role | None) -> None:
        self._choices: Mapping[str, str] = description.get("figures") or {}
        self._role = role
        self._status = description.get("status")
        sites = {**(description.get("sites") or {}), **(description.get("left_out") or {})}
        self.everything = role is None or (bool(sites) and all(map(self._allows, sites)))
        self._names = {*sites, *self._choices}

    def _allows(self, site: str) -> bool:
        choice = self._choices.get(site, "nobody")
        return choice == "project" or (choice == "operators" and self._role == "operator")

    def shown(self, sites: Collection[str]) -> set[str]:
        """Return which of the sites behind a sum may be shown beside it.

        Where one alone is to stay hidden, its figure would be what is left of the sum: then none is shown.
        """
        allowed = {site for site in sites if self._allows(site)}
        return set() if len(set(sites) - allowed) == 1 else allowed

    def hides_sum(self, sites: Collection[str]) -> bool:
        """Say whether a sum over sites is the figure of one, who does not show it."""
        return len(sites) == 1 and not self.shown(sites)

    def file(
        self, name: str, content: BinaryIO, site_rows: Callable[[], list[dict[str, str]]] = list
    ) -> Iterator[bytes]:
        """Yield the content of one of the `FILTERED` files, as this person may see it.

        Args:
            name: Of the file.
            content: Of the file.
            site_rows: Reads the run's `sites.csv`, which says who is behind the sums of `metrics.csv`.
        """
        text = io.TextIOWrapper(content, encoding="utf-8", errors="replace", newline="")
        if name == ABOUT:
            yield (json.dumps(self.description(json.load(text)), indent=2) + "\n").encode()
        elif name == TEST:
            yield (json.dumps(self._states(json.load(text))) + "\n").encode()
        elif name == EVENTS:
            for line in text:
                with suppress(ValueError, RecursionError):  # cut short by a crash, or still being written
                    yield (json.dumps(self.event(dict(json.loads(line)))) + "\n").encode()
        elif name == ROUNDS:
            yield from self._sums(text, site_rows())
        else:
            yield from self._rows(text)

    def description(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `run.json` says, without what belongs to hospitals that don't show it."""
        if self.everything:
            return dict(description)
        found = {key: value for key, value in description.items() if key in _OF_RUN}
        if "reason" in found:
            found["reason"] = self.reason(found["reason"])
        if "models" in found:
            found["models"] = {
                name: digest for name, digest in found["models"].items() if name not in WITHHELD
            }
        for key in _BY_SITE:
            if key in description:
                found[key] = self._by_site(description[key])
        if "sites" in description:
            shown = self.shown(description["sites"])
            found["sites"] = {
                site: facts if site in shown else {} for site, facts in description["sites"].items()
            }
        if "comparison" in description and not self.hides_sum(_behind_test(description.get("test") or {})):
            found["comparison"] = self._comparison(description["comparison"], description)
        parts = {"test": self._test, "guarantee": self._guarantee}
        parts |= {"described": self._described, "decisions": self._decisions, "groups": self._groups}
        for key in _OF_SITES:
            if key in description and self.hides_sum(description[key]["sites"]):
                del parts[key]
        return found | {key: take(description[key]) for key, take in parts.items() if key in description}

    def reason(self, reason: Any) -> str:
        """Return why a run ended, or goes on; of one that failed it may name what single sites have."""
        is_ours = self.everything or self._status in _OWN_REASONS
        return str(reason or "") if is_ours else self._without_numbers(str(reason or ""))

    def event(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Return a line of `events.jsonl`; of a site only what happened, where not every site shows more."""
        if self.everything:
            return dict(line)
        found = {key: line[key] for key in line if not line.get("site") or key in _OF_EVENT}
        if "reason" in found:
            found["reason"] = self._without_numbers(found["reason"])
        return self._without_lone(found) if line.get("event") == "round_finished" else found

    def _without_lone(self, sums: dict[str, Any]) -> dict[str, Any]:
        """Return the sums of a round (`round_finished`) without those that are the figures of one site."""
        hidden = {side for side in (TRAINED, JUDGED) if side in sums and self.hides_sum({sums[side]})}
        return {
            key: value
            for key, value in sums.items()
            if key in _OF_EVENT or key in (TRAINED, JUDGED) or _side(key) not in hidden
        }

    def _by_site(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a mapping by sites: numbers of those shown, texts of all, but without their numbers."""
        shown = self.shown(values)
        return {
            site: value if site in shown else self._without_numbers(value)
            for site, value in values.items()
            if site in shown or isinstance(value, str)
        }

    def _without_numbers(self, text: str) -> str:
        """Return a text whose words have no digits, but for names of sites and what counts the run's own."""

        def kept(word: re.Match[str]) -> str:
            is_shown = word["of_run"] or word[0].strip(".,:;()'\"") in self._names
            return word[0] if is_shown else "…"

        return _WORDS.sub(kept, str(text))

    def _test(self, test: Mapping[str, Any]) -> dict[str, Any]:
        shown = self.shown(test["sites"])
        scores = {site: values if site in shown else {} for site, values in test["sites"].items()}
        examples = {site: count for site, count in test.get("examples", {}).items() if site in shown}
        federation = dict(test["federation"])
        if self.hides_sum(_behind_test(test)):
            federation = dict.fromkeys(federation)
        return {"federation": federation, "sites": scores, "examples": examples}

    def _states(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `test.json` says: of one site alone nothing, as the sum would be that site's own."""
        sites = kept.get("sites", {})
        if len(sites) == 1 and not self.shown(sites):
            return {}
        shown = self.shown(sites)
        return {**kept, "sites": {site: states for site, states in sites.items() if site in shown}}

    def _comparison(self, comparison: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of the sum alone, and of the sites that are shown."""
        shown = self.shown(description.get("sites", {}))
        metrics = {
            name: {key: value for key, value in one.items() if key != "site"}
            for name, one in comparison.get("metrics", {}).items()
        }
        single = {site: name for site, name in comparison.get("one_class", {}).items() if site in shown}
        return {"metrics": metrics, "one_class": single}

    def _decisions(self, decisions: Mapping[str, Any]) -> dict[str, Any]:
        shown = self.shown(decisions["sites"])
        return {**decisions, "sites": {site: decisions["sites"][site] for site in sorted(shown)}}

    def _groups(self, groups: Mapping[str, Any]) -> dict[str, Any]:
        """Return figures of groups; where one site alone is behind one and stays hidden, none of it."""
        behind = {
            name: {site for site, own in groups["sites"].items() if name in own}
            for name in groups["federation"]
        }
        sites: dict[str, dict[str, Any]] = {}
        for name, among in behind.items():
            for site in sorted(self.shown(among)):
                sites.setdefault(site, {})[name] = groups["sites"][site][name]
        told = {
            name: figures
            for name, figures in groups["federation"].items()
            if len(behind[name]) != 1 or self.shown(behind[name])
        }
        return {"federation": told, "sites": sites}

    def _described(self, described: Mapping[str, Any]) -> dict[str, Any]:
        shown = self.shown(described["sites"])
        return {**described, "sites": {site: described["sites"][site] for site in sorted(shown)}}

    def _guarantee(self, guarantee: Mapping[str, Any]) -> dict[str, Any]:
        shown = self.shown(guarantee.get("sites", {}))
        sites = {
            site: facts if site in shown else {"words": f"{KEPT_BACK}, whose ledger has what was spent."}
            for site, facts in guarantee.get("sites", {}).items()
        }
        return {**guarantee, "sites": sites}

    def _sums(self, text: Iterable[str], site_rows: Iterable[Mapping[str, str]]) -> Iterator[bytes]:
        """Yield the rows of `metrics.csv`, without the sums that are the figures of one site."""
        rounds: dict[str, list[Mapping[str, str]]] = {}
        for row in site_rows:
            rounds.setdefault(row["round"], []).append(row)
        reader = csv.reader(text)
        columns = next(reader, [])
        yield _line(columns)
        for cells in reader:
            row = dict(zip(columns, cells, strict=False))
            kept = self._without_lone(row | lone_sites(rounds.get(row["round"], ())))
            yield _line([str(kept.get(key, "")) for key in columns])

    def _rows(self, text: Iterable[str]) -> Iterator[bytes]:
        """Yield the rows of `sites.csv`; those of one round and phase belong to one sum."""
        reader = csv.reader(text)
        columns = next(reader, [])
        yield _line(columns)
        for _, group in groupby(reader, key=lambda row: (row[0], row[2]) if len(row) > 2 else None):
            rows = [dict(zip(columns, row, strict=False)) for row in group]
            shown = self.shown({row.get("site", "") for row in rows})
            for row in rows:
                hidden = row.get("site") not in shown
                yield _line(["" if hidden and key not in _OF_ROW else row.get(key, "") for key in columns])


def _side(sum_: str) -> str:
    """Return over whom a sum of a round is: over who trained, over who judged, or over nobody."""
    return "" if sum_ in ("round", "sites") else TRAINED if sum_ in OF_TRAINING else JUDGED


def _behind_test(test: Mapping[str, Any]) -> set[str]:
    """Return the sites whose own figures are in the sum of a test."""
    return {site for site, figures in (test.get("sites") or {}).items() if tells(figures)}


def _line(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
