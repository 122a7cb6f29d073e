"""The tasks that a job may name.

The registry of the options is the list: names, policies, templates, tables of docs and tests follow from it.
Nothing here loads PyTorch; `TaskOptions.build` does.
"""

from typing import TYPE_CHECKING

from shared.registry import Registry
from shared.tasks.classification.options import Classification
from shared.tasks.detection.options import Detection
from shared.tasks.diffusion.options import Diffusion
from shared.tasks.generation.options import Generation
from shared.tasks.instances.options import Instances
from shared.tasks.options import TaskOptions
from shared.tasks.pretraining.options import Pretraining
from shared.tasks.reconstruction.options import Reconstruction
from shared.tasks.registration.options import Registration
from shared.tasks.regression.options import Regression
from shared.tasks.restoration.options import Restoration
from shared.tasks.segmentation.options import Segmentation
from shared.tasks.survival.options import Survival
from shared.tasks.synthesis.options import Synthesis
from shared.tasks.vae.options import VAE
from shared.tasks.vqvae.options import VQVAE

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.tasks.base import Statistics, Task

TASKS = Registry(
    "wardround.tasks",
    (
        Classification,
        Segmentation,
        Detection,
        Instances,
        Registration,
        Generation,
        VAE,
        VQVAE,
        Diffusion,
        Pretraining,
        Restoration,
        Reconstruction,
        Synthesis,
        Survival,
        Regression,
    ),
    TaskOptions,  # type: ignore[type-abstract]
)
"""The options of every task, by the name that a job gives."""


def make_task(job: "JobSpec", statistics: "Statistics | None" = None) -> "Task":
    """Return the task that a job names, ready to learn and to judge.

    Args:
        job: The job.
        statistics: Sums that it asks for, where they are known already; see `Task.statistics`.
    """
    task = job.task.build(job)
    task.statistics = statistics or {}
    return task
