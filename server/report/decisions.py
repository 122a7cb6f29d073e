"""What was chosen of a model on the validation patients, and how it did on the test patients."""

from collections.abc import Iterator, Mapping
from typing import Any

from server.report.content import words
from server.report.facts import Outcome
from shared.decisions.choice import KEY, Choice, sigmoid
from shared.web.tables import Estimate, Table

_POINTS = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
_ABOUT = (
    "Where hospitals merge bins of scores (min_group above 1, without masks), a count at a threshold is "
    "exact to a bin of them only."
)
_BEFORE_THE_TEST = "Chosen on the validation patients of all hospitals, before the test was opened."


def decision_tables(outcome: Outcome) -> list[Table]:
    """Return the tables; none of a run whose job chose nothing."""
    told = outcome.about.get(KEY)
    if not told:
        return []
    choice = Choice.read(told["chosen"], outcome.job.job.name)
    found = (
        _at_threshold(choice, told["judged"]),
        _between_sites(choice, told["sites"]),
        _calibration(choice, told["judged"]),
        _sets(choice, told["judged"]),
    )
    return [table for table in found if table is not None]


def decision_warnings(outcome: Outcome) -> Iterator[str]:
    """Yield a sentence about what was asked for and could not be chosen."""
    told = outcome.about.get(KEY)
    if outcome.job.evaluation.decisions is not None and outcome.test and not told:
        yield "Nothing was chosen of [evaluation.decisions]: the hospitals told no validation scores."
    missing = told["chosen"]["missing"] if told else []
    if missing:
        yield (
            f"The sums of the validation patients do not tell {'; '.join(missing)}: too few are behind them, "
            "or no threshold reaches what was asked for."
        )


def _estimate(found: Mapping[str, float] | None) -> Estimate:
    return Estimate(None) if found is None else Estimate(found["value"], found["low"], found["high"])


def _at_threshold(choice: Choice, judged: Mapping[str, Any]) -> Table | None:
    rows: list[list[Any]] = [
        [
            name,
            _chance(threshold),
            *(_estimate(judged.get("at_threshold", {}).get(name, {}).get(figure)) for figure in _POINTS),
        ]
        for name, threshold in choice.thresholds.items()
    ]
    columns = ("class", "threshold (uncalibrated)", *map(words, _POINTS))
    notes = (_BEFORE_THE_TEST, "Predictive values are of patients as frequent as in this test.", _ABOUT)
    return Table("operating-point", "At the operating point", columns, rows, notes) if rows else None


def _chance(logit: float) -> float:
    """Return the probability that a logit stands for."""
    return float(sigmoid(logit))  # type: ignore[arg-type]


def _between_sites(choice: Choice, sites: Mapping[str, Any]) -> Table | None:
    rows = []
    for name in choice.thresholds:
        for figure in _POINTS[:2]:
            own = {
                site: found["value"]
                for site, told in sites.items()
                if (found := told.get("at_threshold", {}).get(name, {}).get(figure)) is not None
            }
            if len(own) > 1:
                worst, best = min(own, key=lambda s: own[s]), max(own, key=lambda s: own[s])
                there = [_estimate(sites[site]["at_threshold"][name][figure]) for site in (worst, best)]
                rows.append([name, words(figure), worst, there[0], best, there[1], own[best] - own[worst]])
    columns = ("class", "figure", "worst at", "there", "best at", "there", "range")
    title = "One threshold at all hospitals"
    return Table("operating-point-by-site", title, columns, rows) if rows else None


def _calibration(choice: Choice, judged: Mapping[str, Any]) -> Table | None:
    keys = ("error_before", "error_after", "brier_before", "brier_after")
    rows: list[list[Any]] = [
        [name, *(own.get(key) for key in keys)] for name, own in judged.get("calibration", {}).items()
    ]
    how = "by curves" if choice.temperature is None else f"logits divided by {choice.temperature:.3g}"
    notes = (
        _BEFORE_THE_TEST,
        "Error: the mean gap between the probability of a class and its share, over the bins of the test.",
    )
    columns = ("class", "error before", "error after", "Brier before", "Brier after")
    return Table("calibration", f"Calibration, {how}", columns, rows, notes) if rows else None


def _sets(choice: Choice, judged: Mapping[str, Any]) -> Table | None:
    sets = judged.get("sets") or {}
    if not sets:
        return None
    rows: list[list[Any]] = [[name, choice.coverage, _estimate(own)] for name, own in sets["classes"].items()]
    rows.append(["all", choice.coverage, _estimate(sets["all"])])
    notes = (
        _BEFORE_THE_TEST,
        f"A set has {sets['mean_size']:.2f} classes on average. The coverage is promised for patients of all "
        "hospitals, mixed as those who validated; not for a single hospital.",
    )
    columns = ("class", "coverage asked for", "true class in the set")
    return Table("prediction-sets", "Prediction sets", columns, rows, notes, strong=1)
