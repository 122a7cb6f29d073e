"""The one site behind a sum of a round: such a sum is that site's own figure."""

from collections.abc import Iterable, Mapping
from typing import Any

TRAINED, JUDGED = "trained_by", "judged_by"
OF_TRAINING = ("train_loss", "seconds", "bytes")
"""Columns of `metrics.csv` that are over who trained; others, but `round` and `sites`, over who judged."""

_NO_METRICS = frozenset({"round", "site", "phase", "examples", *OF_TRAINING})
_SIDES = {"train": TRAINED, "evaluate": JUDGED, "val": JUDGED}


def lone_sites(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the site that alone has trained (`trained_by`) or told metrics (`judged_by`) in a round.

    Nothing stands for a side where several have, or none: behind masks no site tells metrics of its own.

    Args:
        rows: Those of the round in `sites.csv`, as they are written or as they were read.
    """
    behind: dict[str, set[str]] = {}
    for row in rows:
        side = _SIDES.get(str(row["phase"]))
        if side == TRAINED or (side == JUDGED and tells(row)):
            behind.setdefault(side, set()).add(str(row["site"]))
    return {side: next(iter(sites)) for side, sites in behind.items() if len(sites) == 1}


def tells(figures: Mapping[str, Any]) -> bool:
    """Say whether there is a metric among the figures of a site; a hospital that keeps its own gives none."""
    return any(_is_number(value) for name, value in figures.items() if name not in _NO_METRICS)


def _is_number(value: Any) -> bool:
    return value not in (None, "") and value == value  # noqa: PLR0124 (NaN is a figure that nobody could calculate)
