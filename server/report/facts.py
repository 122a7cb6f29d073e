"""What a run says of itself, as a report needs it: nothing is computed here that the run has not written."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from server.report.words import tested_model
from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_specs
from shared.run_folder import EVENTS, PARTICIPATION, PATIENTS, REHEARSAL, SIMULATION, TEST, RunRecord
from shared.web.tables import Estimate

SCORED_ALIKE = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "sensitivity",
    "specificity",
    "f1",
    "auroc",
    "average_precision",
)
"""What one answer for all makes perfect, or undefined, where a test has one class only."""


def nobody_tests(about: Mapping[str, Any]) -> bool:
    """Say whether no site has, or tells of, a test patient, by what `run.json` says; None is kept back."""
    counts = [(site.get("examples") or {}).get("test") for site in about["sites"].values()]
    judged = (about.get("test") or {}).get("examples") or {}
    return all(count == 0 for count in (*counts, *judged.values()))


class Outcome:
    """What `run.json` says of what came out.

    Args:
        job: What was asked.
        about: The content of `run.json`, as far as whoever reads it may see it.
    """

    def __init__(self, job: JobSpec, about: Mapping[str, Any]) -> None:
        self.job = job
        self.about = about

    @property
    def sites(self) -> Mapping[str, Any]:
        """The sites that took part, with the patients that each tells of."""
        return self.about.get("sites") or {}

    @property
    def test(self) -> Mapping[str, Any]:
        """What came out on the test patients; nothing of a run that has not finished."""
        return self.about.get("test") or {}

    @property
    def comparison(self) -> Mapping[str, Any]:
        """See `server.report.comparison`."""
        return self.about.get("comparison") or {}

    def patients(self, site: str, side: str) -> int | None:
        """Return how many patients a site tells of; None where it keeps that to itself."""
        count = (self.sites.get(site, {}).get("patients") or {}).get(side)
        return None if count is None else int(count)

    def images(self, site: str, side: str) -> int | None:
        """Return how many images a site tells of."""
        count = (self.sites.get(site, {}).get("examples") or {}).get(side)
        return None if count is None else int(count)

    def test_patients(self, site: str | None = None) -> int | None:
        """Return the patients behind the figures: exact in a rehearsal, else as the sites round them."""
        if site is None:
            exact = self.comparison.get("patients")
            counts = [self.patients(name, "test") for name in self.sites]
            known = [count for count in counts if count is not None]
            return int(exact) if exact else (sum(known) if known and len(known) == len(counts) else None)
        own = (self.comparison.get("sites") or {}).get(site) or {}
        return own.get("patients") or self.patients(site, "test")

    def estimate(self, metric: str) -> Estimate:
        """Return a metric of the federation with its interval."""
        one = (self.comparison.get("metrics") or {}).get(metric) or {}
        value = (self.test.get("federation") or {}).get(metric)
        if one and self.comparison.get("how") == "bootstrap":
            value = one.get("value", value)  # of the scores themselves, in place of their bins
        return Estimate(value, one.get("low"), one.get("high"))

    def site_estimate(self, site: str, metric: str) -> Estimate:
        """Return a metric of a site; a dash where its test has one class only."""
        if site in (self.comparison.get("one_class") or {}) and metric.partition("/")[0] in SCORED_ALIKE:
            return Estimate(None)
        one = ((self.comparison.get("sites") or {}).get(site) or {}).get("metrics", {}).get(metric) or {}
        value = ((self.test.get("sites") or {}).get(site) or {}).get(metric)
        return Estimate(one.get("value", value), one.get("low"), one.get("high"))

    def is_lower_better(self, metric: str) -> bool:
        """Say which way is better."""
        name = metric.partition("/")[0]
        return any(spec.lower_is_better for spec in metric_specs(self.job) if spec.name == name)


class RunFacts(Outcome):
    """One run, with everything that its folder holds.

    Args:
        record: The folder.
    """

    def __init__(self, record: RunRecord) -> None:
        super().__init__(record.job, record.read_description())
        self.record = record

    @classmethod
    def read(cls, path: Path) -> "RunFacts":
        """Read a run.

        Raises:
            RunError: There is none.
        """
        return cls(RunRecord.read(path))

    @property
    def name(self) -> str:
        """Of the run."""
        return self.record.path.resolve().name

    @cached_property
    def status(self) -> str:
        """See `shared.run_folder`."""
        return self.record.status

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """What happened, line by line; half a line, as a kill leaves it, is left out."""
        found = []
        for line in self.record.text(EVENTS).splitlines() if (self.record.path / EVENTS).exists() else ():
            with suppress(ValueError):
                found.append(dict(json.loads(line)))
        return found

    def test_openings(self) -> str:
        """Return how often the test patients have judged, in words; a stop in between makes it twice."""
        if not (self.record.path / PARTICIPATION).exists():  # runs of earlier versions have none
            return ""
        lines = map(json.loads, self.record.text(PARTICIPATION).splitlines())
        times = sum(bool(line.get("test")) for line in lines)
        if nobody_tests(self.about):
            return "never opened: no hospital had patients in it"
        beside = ", and for the models that it is compared with" if self.about.get("baselines") else ""
        return f"opened {'once' if times == 1 else f'{times} times'}, for {tested_model(self.about)}{beside}"

    @cached_property
    def rounds(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv`."""
        return self.record.table("metrics.csv")

    @cached_property
    def site_rows(self) -> list[dict[str, str]]:
        """The rows of `sites.csv`."""
        return self.record.table("sites.csv")

    @property
    def is_rehearsal(self) -> bool:
        """Whether its hospitals were simulated."""
        return (self.record.path / SIMULATION).exists()

    @property
    def has_patients(self) -> bool:
        """Whether single test patients are known: of a rehearsal alone."""
        return (self.record.path / REHEARSAL / PATIENTS).exists()

    @property
    def is_tested(self) -> bool:
        """Whether anything is kept of its test: its states, or in a rehearsal what its patients are."""
        kept = (TEST, f"{REHEARSAL}/{PATIENTS}")
        return any((self.record.path / name).exists() for name in kept)

    def states(self) -> dict[str, Any]:
        """Return the metric states of the test, nothing where none are kept.

        Raises:
            RunError: The file can't be read.
        """
        try:
            return dict(json.loads(self.record.text(TEST))) if (self.record.path / TEST).exists() else {}
        except ValueError as error:
            raise RunError(f"is not what a run writes ({error})", where=self.record.path / TEST) from None


def finite(text: str | float | None) -> float | None:
    """Return a number of a CSV's cell; None where there is none."""
    if text is None or text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
