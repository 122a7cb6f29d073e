"""The names of the metrics of a job, known without loading PyTorch."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.job import JobSpec

CLASSIFICATION = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "sensitivity",
    "specificity",
    "f1",
    "auroc",
    "average_precision",
    "calibration_error",
)
PER_CLASS = ("sensitivity", "specificity", "auroc")
SEGMENTATION = ("dice_global", "dice_image", "dice_patient", "iou")
DISTANCES = ("hd95", "hd95_undefined", "surface_dice")
LOWER_IS_BETTER = frozenset({"loss", "calibration_error", "hd95", "hd95_undefined"})


def metric_names(job: "JobSpec") -> tuple[str, ...]:
    """Return the names that the job's task reports, `loss` first.

    With several structures, or more than two classes, single ones follow as `dice_global/edema`.
    """
    classes = job.data.classes
    if job.job.task == "classification":
        split = len(classes) > (1 if job.data.multi_label else 2)
        names, per_class = list(CLASSIFICATION), list(PER_CLASS)
    else:
        split = len(classes) > 1
        names = [*SEGMENTATION, *(DISTANCES if job.evaluation.distances else ())]
        per_class = names
    single = [f"{name}/{label}" for name in per_class for label in classes] if split else []
    return ("loss", *names, *single)


def lower_is_better(name: str) -> bool:
    """Tell whether a smaller value of the metric is the better one, also for `hd95/edema`."""
    return name.partition("/")[0] in LOWER_IS_BETTER


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Say whether a value of a metric is better than the best so far; an undefined one never is."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value < best if lower_is_better(metric) else value > best
