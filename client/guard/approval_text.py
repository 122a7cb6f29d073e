"""What whoever approves a job reads: what it does here, what leaves and how often, what is unusual.

Everything that the job's author wrote is escaped.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from client.guard.job_book import SeenJob
from client.guard.release import Release
from client.guard.served_requests import MOST_ANSWERS
from client.guard.unusual_settings import unusual
from client.guard.update_plan import length_of
from client.settings.policy import PolicyTable
from client.settings.site import SiteConfig
from shared.job.schema import JobSpec
from shared.job_parts import JobNetwork, is_sent_whole, networks_of, sent_parts
from shared.text.phrase import phrase
from shared.text.plural import many
from shared.text.printable import printable


@dataclass(frozen=True)
class ApprovalText:
    """What a job would do here and what would leave; every text is printable as it stands.

    Attributes:
        facts: By name: what the job is, reads, trains.
        leaving: What leaves, and how often.
        unusual: A sentence for each thing that few honest jobs have.
        whole: All keys of the job, a line each.
    """

    facts: dict[str, str]
    leaving: tuple[str, ...]
    unusual: tuple[str, ...]
    whole: tuple[str, ...]

    @classmethod
    def of(
        cls,
        seen: SeenJob,
        site: SiteConfig,
        answers: int,
        behind: str,
        looks: int,
        *,
        sums: Sequence[Sequence[str]] = (),
    ) -> Self:
        """Return the text of a job.

        Args:
            seen: The job.
            site: Its policy says what leaves.
            answers: Given for the job's rounds so far.
            behind: Whose images make up an update, as `client.guard.contributors` says it.
            looks: That there were at the dataset before, as `client.guard.looks` counts them.
            sums: Sets of sites that were refused to it, and that this approval allows.
        """
        job = seen.spec()
        facts = {name: printable(fact) for name, fact in _facts(seen, job, site, answers).items()}
        parts = (_leaving(job, site, behind), [*unusual(job, looks), *_summed(sums)], _whole(job))
        return cls(facts, *(tuple(map(printable, part)) for part in parts))

    def lines(self) -> list[str]:
        """Return it for a terminal, a line a fact."""
        lines = [f"{name:<11} {fact}" for name, fact in self.facts.items()]
        lines += ["What leaves this site:", *(f"  - {what}" for what in self.leaving), "No image leaves."]
        lines += ["What is unusual about it:" if self.unusual else "Nothing of it is unusual."]
        lines += [f"  - {what}" for what in self.unusual]
        return [*lines, "The whole job:", *(f"  {line}" for line in self.whole)]


def _facts(seen: SeenJob, job: JobSpec, site: SiteConfig, answers: int) -> dict[str, str]:
    dataset = site.datasets.get(job.job.dataset)
    served = f"{seen.rounds} trained here so far, {answers} answers given"
    if seen.decision == "approved" and answers:
        served += "; approved again, each of its requests is answered once more"
    return {
        "job": f"{job.job.name}, digest {seen.digest}",
        "phrase": f"{phrase(seen.digest)} (`wardround job check` says the same to the researcher)",
        "researcher": f"{seen.researcher or 'not named'} (on the coordinator's word)",
        "task": job.task.subject,
        "network": ", ".join(_network(network) for network in networks_of(job)),
        "dataset": f"{job.job.dataset} ({dataset.manifest if dataset else 'not offered here'})",
        "rounds": f"{_rounds(job)}; {served}",
        "strategy": _strategy(job),
        **_computing(job),
    }


def _rounds(job: JobSpec) -> str:
    if job.job.describes:
        return "none: nothing is trained, and the training patients are described"
    if job.judges:
        return "none: nothing is trained, and the network's weights are judged on the test patients"
    return f"{job.job.rounds}, each with {length_of(job)}"


def _network(network: JobNetwork) -> str:
    alone = network.table == "model"
    return network.options.in_words if alone else f"{network.options.in_words} ({network.role})"


def _computing(job: JobSpec) -> dict[str, str]:
    training = job.training
    if training.precision == "float32" and not training.compile:
        return {}
    text: str = training.precision
    if training.compile:
        text += (
            ", with compiled networks: PyTorch writes C++ code from them on this machine, whose compiler "
            "makes kernels of that (policy.compile)"
        )
    return {"computing": text}


def _strategy(job: JobSpec) -> str:
    text = f"{job.strategy.name}, at least {job.strategy.min_sites} sites"
    text += " in each round" if job.trains else ""
    if job.privacy.mechanism != "site-level":
        text += ", and others may join later"
    return f"{text}; {job.strategy.at_site}" if job.strategy.at_site else text


def _updates(job: JobSpec, behind: str) -> Iterator[str]:
    rounds = many(job.job.rounds, "round")
    model = f"{_sent_part(job)}, after each of {rounds}, in each {MOST_ANSWERS} times at most"
    model += " (again where the answer was lost)"
    if job.privacy.secure_aggregation:
        model += ", masked: the coordinator gets its sum with the other sites' alone"
    if job.privacy.verifiable_sum:
        model += (
            ", with a signed hash that hides it; each round's sum is kept with the run, for anybody to check"
        )
    yield f"{model}; {_protection(job)}"
    yield f"behind each such update: {behind}"


def _leaving(job: JobSpec, site: SiteConfig, behind: str) -> Iterator[str]:
    policy = site.policy
    if job.trains:
        yield from _updates(job, behind)
    if job.privacy.mechanism == "dp-sgd" and not policy.share_private_counts:
        yield "whether this site takes part, and no count"
    else:
        yield (
            "the number of patients and images in each split, rounded to "
            f"{policy.round_counts_to} (policy.round_counts_to), where it is at least "
            f"{policy.min_group} patients (policy.min_group)"
        )
    hidden = ", masked: the coordinator gets their sum with the other sites' alone"
    for spec in job.statistics():
        yield (
            f"before the first round, {spec.told}; no few of the patients steer these figures, and those of "
            f"fewer than {policy.min_group} patients (policy.min_group) do not leave"
            + (hidden if job.privacy.secure_aggregation else "")
        )
    if job.job.describes:
        if not job.privacy.secure_aggregation:
            yield "that these figures are this site's, by its name (policy.figures_for says who sees it)"
        yield "errors, cleared of names, paths and values"
        return
    every = job.evaluation.every
    how_often = "each round" if every == 1 else f"every {every} rounds"
    judged = f"on validation patients after {how_often}"
    judged += ", and on test patients for one round" if job.evaluation.test else ", and on no test patients"
    if not job.trains:
        judged = "on test patients, once"
    if job.privacy.secure_aggregation:
        yield from _in_masked_sums(job, policy, judged)
    elif policy.share_site_metrics:
        if Release.of(policy, job).loss and job.trains:
            yield "the training loss of each round, exactly (policy.min_group is 1)"
        yield f"sums from which the coordinator computes this site's metrics {judged}"
    yield from _in_groups(job, policy)
    yield "errors, cleared of names, paths and values"


def _in_groups(job: JobSpec, policy: PolicyTable) -> Iterator[str]:
    if job.evaluation.groups and (policy.share_site_metrics or job.privacy.secure_aggregation):
        columns = ", ".join(own.column for own in job.evaluation.groups)
        yield (
            f"of the test the same sums for groups of patients by {columns}, of {policy.min_group} or more "
            "(policy.min_group), and of none that others tell"
        )


def _in_masked_sums(job: JobSpec, policy: PolicyTable, judged: str) -> Iterator[str]:
    """Yield what leaves for a secure sum besides the model."""
    yield "how much this site counts in the sum, signed, to the coordinator and to every other site"
    private = job.privacy.mechanism == "dp-sgd"
    if Release.of(policy, job).loss and job.trains:
        yield "the training loss, masked"
    if not private or policy.share_private_metrics:
        yield f"sums for the metrics of all sites together, masked, not this site's own: {judged}"


def _sent_part(job: JobSpec) -> str:
    """Return what of the trained model a job makes a site send."""
    update = job.update
    if is_sent_whole(job):
        return "the trained model"
    adapted = any(network.options.lora for network in networks_of(job))
    where = [*(sent_parts(job) or []), *(["the adapters"] if adapted else [])]
    what = "what training has changed" + (f" in {', '.join(where)}" if where else "")
    if update.keep is not None:
        what += f", the largest {update.keep:.0%} of its numbers"
    what += f", in {update.bits} bits a number"
    return what + (f", scaled down to a norm of {update.clip:g}" if update.clip is not None else "")


def _protection(job: JobSpec) -> str:
    """Return what a trained model says of the images, in words."""
    privacy = job.privacy
    if privacy.mechanism != "dp-sgd":
        return (
            "it is computed from the images, and without differential privacy something of them may be "
            "inferred from it"
            + ("; the coordinator alone adds noise, to the mean" if privacy.mechanism == "site-level" else "")
        )
    noise = f"noise multiplier {privacy.noise_multiplier}"
    if privacy.epsilon is not None:
        noise = f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} over all rounds"
    if privacy.honest_sites is not None:
        noise += f" in the sum, if {privacy.honest_sites} of the sites in it are honest"
    return (
        f"it is differentially private for each {privacy.unit}: {noise}; the privacy budget says what is left"
    )


def _summed(sums: Sequence[Sequence[str]]) -> Iterator[str]:
    for sites in sums:
        yield (
            f"Approved, its figures are summed over {', '.join(sites)}: those of the same patients were "
            "summed over other sites before, and from several such sums a single site's may be told."
        )


def _whole(job: JobSpec) -> Iterator[str]:
    """Yield every key of the job; those without a value are left out."""
    for table, values in job.model_dump(mode="json").items():
        yield f"[{table}]"
        yield from (f"{key} = {_spelt(value)}" for key, value in values.items() if value is not None)


def _spelt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
