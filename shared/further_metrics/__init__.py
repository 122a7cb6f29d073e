"""Metrics that a job may ask for besides those of its task: means of values that every sample has.

The registry is the list of what exists: policies, tests and tables of docs come from it.
"""

from shared.further_metrics.brier import Brier
from shared.further_metrics.feature_moments import FeatureMoments
from shared.further_metrics.options import MetricOptions
from shared.further_metrics.robust_accuracy import RobustAccuracy
from shared.further_metrics.volume_error import VolumeError
from shared.registry import Registry

__all__ = ["METRICS", "MetricOptions"]

METRICS = Registry("wardround.metrics", (Brier, RobustAccuracy, FeatureMoments, VolumeError), MetricOptions)  # type: ignore[type-abstract]
"""The options of each metric, by its name in a job."""
