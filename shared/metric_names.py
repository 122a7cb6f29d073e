"""The names of the metrics of a job, known without loading PyTorch."""

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
SEGMENTATION = ("dice_global", "dice_image", "dice_patient", "iou")
DISTANCES = ("hd95", "surface_dice")
LOWER_IS_BETTER = frozenset({"loss", "calibration_error", "hd95"})


def metric_names(job: "JobSpec") -> tuple[str, ...]:
    """Return the names that the job's task reports, `loss` first."""
    if job.job.task == "classification":
        return ("loss", *CLASSIFICATION)
    return ("loss", *SEGMENTATION, *(DISTANCES if job.evaluation.distances else ()))
