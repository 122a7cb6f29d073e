"""What differential privacy and secure aggregation ask of the other tables of a job."""

from typing import TYPE_CHECKING

from shared.job_parts import networks_of, phases_of
from shared.networks import NETWORKS, fitting_networks
from shared.privacy.secagg.limits import LEAST_SITES

if TYPE_CHECKING:
    from shared.job.schema import JobSpec


def check_privacy(job: "JobSpec") -> None:
    """Raise ValueError, naming table and key, where [privacy] contradicts another table."""
    for rule in (_private_training, _secure_aggregation, _distributed_noise, _site_level):
        rule(job)


def _private_training(job: "JobSpec") -> None:
    if job.privacy.mechanism != "dp-sgd":
        return
    if job.strategy.min_patients > 1:
        raise ValueError(
            "[strategy] min_patients: must be 1 with 'dp-sgd', since whether a site has that many patients "
            "is a figure that no noise protects; a site with fewer than its own policy's min_group takes no "
            "part"
        )
    for problem in job.task.private_problems(job):
        raise ValueError(problem)
    _private_phases(job)
    _private_networks(job)
    if job.training.precision != "float32":
        raise ValueError("[training] precision: with 'dp-sgd' gradients are clipped in float32")
    if job.training.compile:
        raise ValueError(
            "[training] compile: with 'dp-sgd' hooks see what passes through each layer, and a compiled "
            "network has none"
        )
    if any(own.gradient_clip is not None for own in phases_of(job).values()):
        raise ValueError(
            "[training] gradient_clip: with 'dp-sgd' gradients are clipped by [privacy] max_grad_norm"
        )


def _private_phases(job: "JobSpec") -> None:
    if not any(phase.sees_data for phase in phases_of(job)):
        raise ValueError(
            f"[privacy] mechanism: no phase of '{job.task.name}' sees a sample, so there is nothing to "
            "protect; take 'none'"
        )
    for phase in phases_of(job):
        if phase.sees_data and phase.mixes is not None:
            raise ValueError(
                f"[task] name: the phase '{phase.name}' of '{job.task.name}' {phase.mixes}, and differential "
                "privacy clips the gradient of each sample"
            )


def _private_networks(job: "JobSpec") -> None:
    """A network needs each sample's gradient where a phase trains it that sees samples."""
    seeing = {role for phase in phases_of(job) if phase.sees_data for role in phase.networks}
    for network in networks_of(job):
        if network.role in seeing and network.options.obstacle is not None:
            private = [name for name in fitting_networks(network.ends) if NETWORKS[name].obstacle is None]
            others = f" (one of: {', '.join(private)})" if private else ""
            raise ValueError(
                f"[{network.table}] name: '{network.options.name}' can't be trained with differential "
                f"privacy, as {network.options.obstacle}{others}"
            )


def _secure_aggregation(job: "JobSpec") -> None:
    if not job.privacy.secure_aggregation:
        return
    if job.strategy.compares_updates:
        raise ValueError(
            f"[strategy] name: '{job.strategy.name}' compares single updates, and with secure_aggregation "
            "the coordinator learns nothing but their sum"
        )
    if job.strategy.min_sites < LEAST_SITES:
        raise ValueError(
            f"[strategy] min_sites: secure_aggregation needs at least {LEAST_SITES}; of a sum of two, each "
            "site would know the other's update"
        )


def _distributed_noise(job: "JobSpec") -> None:
    """Noise can be shared out where the sum is all that anybody sees, and where noise goes through unbent."""
    privacy, honest = job.privacy, job.privacy.honest_sites
    if privacy.noise != "distributed" or honest is None:
        return
    if not privacy.secure_aggregation:
        raise ValueError(
            "[privacy] noise: 'distributed' needs secure_aggregation = true; otherwise the coordinator sees "
            "each site's share alone"
        )
    if job.training.local_steps != 1:
        raise ValueError(
            "[training] local_steps: must be 1 with distributed noise; a site's second step would rest on "
            "its own first one, which has only a share of the noise"
        )
    if len(phases := phases_of(job)) > 1:
        raise ValueError(
            f"[privacy] noise: can't be 'distributed' with '{job.task.name}', as a step has {len(phases)} "
            "phases, and the second would rest on the first, which has only a share of the noise"
        )
    if any(own.optimizer != "sgd" for own in phases.values()):
        raise ValueError("[training] optimizer: must be 'sgd' with distributed noise; others bend the noise")
    if privacy.noise_multiplier is None:
        raise ValueError(
            "[privacy] noise_multiplier: is needed with distributed noise, as all sites must add equal shares"
        )
    if job.strategy.weight != "equal":
        raise ValueError("[strategy] weight: must be 'equal' with distributed noise, as the shares are")
    if job.update.clip is not None:
        raise ValueError("[update] clip: can't be used with distributed noise, which it would cut short")
    if honest > job.strategy.min_sites:
        raise ValueError(
            f"[privacy] honest_sites: {honest} can't be had of sums of {job.strategy.min_sites} sites; raise "
            "[strategy] min_sites"
        )


def _site_level(job: "JobSpec") -> None:
    if job.privacy.mechanism != "site-level":
        return
    if job.privacy.secure_aggregation:
        raise ValueError(
            "[privacy] secure_aggregation: 'site-level' clips single updates at the coordinator, which sees "
            "none of them; take 'dp-sgd'"
        )
    if job.strategy.compares_updates:
        raise ValueError(
            f"[strategy] name: 'site-level' adds noise to the mean, and '{job.strategy.name}' makes none"
        )
    if job.strategy.weight != "equal":
        raise ValueError(
            "[strategy] weight: must be 'equal' with 'site-level', as clipping bounds each alike"
        )
