"""The tasks that a job may name."""

from shared.job import JobSpec
from shared.tasks.base import Task
from shared.tasks.classification import ClassificationTask
from shared.tasks.segmentation import SegmentationTask

TASKS: dict[str, type[Task]] = {"classification": ClassificationTask, "segmentation": SegmentationTask}

__all__ = ["TASKS", "ClassificationTask", "SegmentationTask", "Task", "make_task"]


def make_task(job: JobSpec) -> Task:
    """Return the task that the job names."""
    return TASKS[job.job.task](job)
