"""What a job asks to be chosen, chosen from the sums of the validation patients."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.decisions.calibration import isotonic_of, temperature_of
from shared.decisions.choice import Choice, Isotonic
from shared.decisions.prediction_sets import cut_of
from shared.decisions.rows import Row, rows_of, rows_of_all
from shared.decisions.thresholds import threshold_of
from shared.job.decision_options import DecisionsTable
from shared.metrics.curves import LARGEST_EDGE, Curves

if TYPE_CHECKING:
    from shared.tasks.fields import Field


def choose(asked: DecisionsTable, label: "Field", curves: Curves, round_: int, patients: int) -> Choice:
    """Choose what a job asks for.

    Args:
        asked: By the job.
        label: What is classified.
        curves: The histograms of the validation, of all sites together.
        round_: Whose model was judged.
        patients: Validation patients, as the sites round them.
    """
    rows = rows_of(curves, label)
    images = int(curves.positives[0].sum() + curves.negatives[0].sum())
    found: dict[str, Any] = {}
    missing: list[str] = []
    if asked.operating_point is not None:
        found |= _thresholds(asked, rows, missing)
    if asked.calibration is not None:
        found |= _calibration(asked, rows, missing)
    if asked.coverage is not None:
        independent = min(1.0, patients / max(1, images))
        found |= _cuts(asked.coverage, rows_of_all(curves, label), independent, missing)
    return Choice(round=round_, images=images, missing=missing, **found)


def _thresholds(asked: DecisionsTable, rows: Sequence[Row], missing: list[str]) -> dict[str, Any]:
    points = {row.name: threshold_of(row, asked) for row in rows}
    missing += [f"the threshold of {name}" for name, own in points.items() if own is None]
    return {"thresholds": {name: own for name, own in points.items() if own is not None}}


def _calibration(asked: DecisionsTable, rows: Sequence[Row], missing: list[str]) -> dict[str, Any]:
    if asked.calibration == "temperature":
        temperature = temperature_of(rows)
        missing += ["the temperature"] if temperature is None else []
        return {"temperature": temperature}
    curves = [(row, isotonic_of(row)) for row in rows]
    missing += [f"the calibration of {row.name}" for row, own in curves if own is None]
    return {
        "isotonic": {
            row.name: Isotonic(edges=row.edges.tolist(), values=own.tolist())
            for row, own in curves
            if own is not None
        }
    }


def _cuts(coverage: float, rows: Sequence[Row], independent: float, missing: list[str]) -> dict[str, Any]:
    cuts = {row.name: cut_of(row, coverage, independent) for row in rows}
    missing += [
        f"the cut of {name}, which is in every set" for name, cut in cuts.items() if cut <= -LARGEST_EDGE
    ]
    return {"coverage": coverage, "cuts": cuts}
