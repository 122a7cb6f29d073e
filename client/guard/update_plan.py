"""How many patients are behind an update: counted from the steps of a round, before anything is trained.

An update is computed from the images that its steps take, however many the split has. One step on one image
gives that image away (Lu et al., APRIL, CVPR 2022). One without a target does not count: how much it teaches
the job says, and it may be nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from client.settings.policy import PolicyError, PolicyTable
from shared.job.schema import JobSpec
from shared.privacy.accounting import Steps
from shared.text.plural import many

if TYPE_CHECKING:
    from client.training.sample_order import SampleOrder


def patients_in_round(
    order: "SampleOrder", patients: Sequence[str], have_targets: Sequence[bool], round_: int
) -> int:
    """Return how many patients' images, of those with a target, a round's steps take.

    Args:
        order: Says which.
        patients: The patient of each image.
        have_targets: Of each image, whether it has one, or needs none.
        round_: From 1.
    """
    taken: set[int] = set()
    for indices in order.batches(round_):
        taken.update(indices)
        if len(taken) == order.images:
            break
    return len({patients[index] for index in taken if have_targets[index]})


def units_in_round(steps: Steps, units: int) -> int:
    """Return how many patients (or images) a round of private training is expected to take."""
    return int(units * (1.0 - (1.0 - steps.sample_rate) ** steps.steps))


def length_of(job: JobSpec) -> str:
    """Say how long a round of a job is."""
    training = job.training
    images = many(training.batch_size, "image")
    if training.local_steps is not None:
        return f"{many(training.local_steps, 'step')} of {images}"
    return f"{many(training.local_epochs or 0, 'pass', 'passes')} over the data, in steps of {images}"


def with_targets(job: JobSpec) -> str:
    """Say which patients count, where a job learns from others too."""
    return " with labels" if job.task.learns_unlabelled else ""


def check_update(policy: PolicyTable, job: JobSpec, behind: int, site: str) -> None:
    """Check that enough patients are behind an update that leaves by itself.

    Args:
        policy: The site's.
        job: What is asked; behind masks only the sum is seen, and the sum has rules of its own.
        behind: Patients, of the round that is asked for.
        site: Its name, for the error.

    Raises:
        PolicyError: There are too few; how many is not said.
    """
    least, whose = policy.min_patients_in_update, with_targets(job)
    if job.privacy.secure_aggregation or behind >= least:
        return
    raise PolicyError(
        f"policy.min_patients_in_update asks for images of {least} patients{whose} in each update, "
        f"and a round of {length_of(job)} takes those of fewer here",
        where=site,
        remedy="Raise [training] local_steps or batch_size, take local_epochs instead, or set [privacy] "
        "secure_aggregation = true.",
    )
