"""The parts of a job of which there may be several: its networks, and the phases of its training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.text.names import shown, suggestion

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.job.training_options import TrainingTable
    from shared.networks import Ends, NetworkOptions
    from shared.tasks.options import PhaseSpec


@dataclass(frozen=True)
class JobNetwork:
    """One network of a job.

    Attributes:
        role: In the task.
        table: Of the job that has its options.
        options: Its options.
        ends: What stands at its ends.
    """

    role: str
    table: str
    options: "NetworkOptions"
    ends: "Ends"


def networks_of(job: "JobSpec") -> tuple[JobNetwork, ...]:
    """Return the networks of a job, in the order of the task's roles."""
    ends = job.task.networks(job.data)
    if not isinstance(job.model, dict):
        [(role, only)] = ends.items()
        return (JobNetwork(role, "model", job.model, only),)
    return tuple(JobNetwork(role, f"model.{role}", job.model[role], own) for role, own in ends.items())


def network_names(job: "JobSpec") -> tuple[str, ...]:
    """Return the names of the networks of a job, each once."""
    return tuple(dict.fromkeys(network.options.name for network in networks_of(job)))


def misnamed_networks(job: "JobSpec") -> Iterator[str]:
    """Yield what is wrong with the tables of a job's networks, of which the task says how many there are."""
    task, roles = job.task.name, list(job.task.networks(job.data))
    tables = ", ".join(f"[model.{role}]" for role in roles)
    if not isinstance(job.model, dict):
        if len(roles) > 1:
            yield f"[model]: '{task}' has {len(roles)} networks; give each a table of its own: {tables}"
        return
    if len(roles) == 1:
        yield f"[model.{shown(next(iter(job.model)))}]: '{task}' has one network; its table is [model]"
        return
    for role in job.model:
        if role not in roles:
            yield f"[model.{shown(role)}]: is not a network of '{task}'; {suggestion(role, roles)}"
    for role in roles:
        if role not in job.model:
            yield f"[model.{role}]: the table is missing; '{task}' needs {tables}"


def phases_of(job: "JobSpec") -> "dict[PhaseSpec, TrainingTable]":
    """Return the phases of a job's training in their order, each with the options that hold in it."""
    return {phase: job.training.of(phase.name) for phase in job.task.phases(job.data)}


def phases_with_data(job: "JobSpec") -> int:
    """Return how many phases of a step see the samples: how often a step is charged."""
    return sum(phase.sees_data for phase in job.task.phases(job.data))
