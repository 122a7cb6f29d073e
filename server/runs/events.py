"""What the round loop tells whoever watches a run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "run_queued",
    "run_waiting",
    "run_started",
    "site_joined",
    "site_only_judges",
    "site_left_out",
    "round_started",
    "site_done",
    "site_failed",
    "not_evaluated",
    "site_late",
    "site_weighed_less",
    "round_repeated",
    "round_finished",
    "run_finished",
    "baselines_started",
    "baseline_done",
    "line_left_out",
]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run.

    Attributes:
        kind: What happened.
        round: Round in which it happened, from 1; 0 outside any round.
        site: Name of the site that it happened at, or empty.
        phase: What the sites were doing: describe, train, evaluate or test; or empty.
        data: `run_queued`: `place` in the queue, from 1; `because`, why it does not begin.
            `run_waiting`: `for`, sites and their states; `until`, when it begins at the latest, or fails.
            `run_started`: `rounds`, `sites`; when resumed also `round`, the last one finished.
            `site_done`: `loss`, `seconds`.
            `site_failed`, `site_only_judges`, `site_left_out`, `not_evaluated`, `round_repeated`: `reason`.
            `site_late`: a quorum had answered, and the grace period after it was over.
            `site_weighed_less`: `weight` as cut down to the job's `largest_share`, `claimed`.
            `round_finished`: the federation's metrics; `trained_by`, `judged_by`, where one site alone is
            behind them. `baselines_started`: `models`.
            `baseline_done`: `seconds`. `line_left_out`: `bytes`, of a line of the log that can't be shown.
    """

    kind: Kind
    round: int = 0
    site: str = ""
    phase: str = ""
    data: Mapping[str, float | int | str] = field(default_factory=dict)


Listener = Callable[[Event], None]


def defined(values: Mapping[str, Any]) -> dict[str, float | int | str]:
    """Return the figures of an event, without those that nobody could calculate: JSON has no NaN."""
    return {
        key: value for key, value in values.items() if not (isinstance(value, float) and math.isnan(value))
    }
