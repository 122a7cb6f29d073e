"""The parts of a job of which there may be several: its networks, and the phases of its training."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.text.names import is_within, shown, suggestion

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

    @property
    def prefix(self) -> str:
        """What the names of its tensors in the job's model begin with: nothing for an only network."""
        return "" if self.table == "model" else f"{self.role}."


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


def sent_parts(job: "JobSpec") -> list[str] | None:
    """Return the modules of the model that are trained and sent whole, None for all; adapters come on top."""
    networks = networks_of(job)
    if job.update.parts is not None or not any(network.options.lora for network in networks):
        return job.update.parts
    return [network.role for network in networks if network.options.lora is None]


def rate_of(name: str, rates: Mapping[str, float]) -> float:
    """Return the factor on the learning rate of a tensor: that of the innermost module with one, else 1."""
    within = [part for part in rates if is_within(name, [part])]
    return rates[max(within, key=len)] if within else 1.0


def counts_are_sent(job: "JobSpec", name: str) -> bool:
    """Say whether a site sends a tensor that is not trained but counted, such as a mean of batch norm."""
    parts = sent_parts(job)
    return (parts is None or is_within(name, parts)) and rate_of(name, job.training.rates) > 0


def changed_parts(job: "JobSpec") -> list[str] | None:
    """Return the modules of the model of which anything is trained and sent; None for all of it."""
    found = list(sent_parts(job) or [])
    for network in networks_of(job):
        if network.options.lora is not None:
            if network.options.lora.layers is None:
                return None
            found += [network.prefix + layer for layer in network.options.lora.layers]
    return found or None


def is_sent_whole(job: "JobSpec") -> bool:
    """Say whether each site sends the whole of the model that it has trained, as it is."""
    return job.update.is_plain and sent_parts(job) is None and all(job.training.rates.values())


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
