"""The hospital's policy: what a job may do here, who may ask for it, and when."""

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator

from client.settings.counts_rules import CountsRules
from client.settings.registries import registry_of
from shared.errors import SiteError
from shared.job.schema import JobSpec
from shared.job_parts import changed_parts, network_names
from shared.limits import LARGEST_MODEL_MB
from shared.metrics.visibility import FiguresFor
from shared.networks.options import Part
from shared.privacy.options import LARGEST_DELTA
from shared.privacy.secagg.limits import LEAST_SITES
from shared.table import Name, Table
from shared.text.names import is_within, suggestion

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class PolicyError(SiteError):
    """A request that the policy refuses; the problem begins with the rule's name."""

    @property
    def rule(self) -> str:
        """Name of the rule, such as ``policy.networks``."""
        return self.problem.split()[0].rstrip(":")


class BudgetError(PolicyError):
    """A private training that the site's ledger refuses."""


class Cap(Table):
    """`[policy.privacy.DATASET]`: what the patients of a dataset may lose at most, over all jobs.

    The site's ledger counts it, and refuses a round that would pass it (docs/privacy-ledger.md).
    """

    epsilon: float = Field(gt=0, description="Most that may be spent, over all jobs.", examples=[10.0])
    delta: float = Field(
        gt=0,
        le=LARGEST_DELTA,
        description="At which epsilon is counted: far below one over the patients.",
        examples=[1e-5],
    )
    days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Days over which it is counted, back from each round; without it for ever.",
        examples=[365],
    )
    unit: Literal["patient", "image"] = Field(
        "patient",
        description="Whom the cap is for. A private job for another unit is refused: the two don't add up.",
    )
    required: bool = Field(
        True, description="Whether a job that trains on the dataset without differential privacy is refused."
    )
    accountant: Literal["rdp", "prv"] = Field(
        "rdp", description="Opacus's accountant; 'prv' finds that less was spent, and takes seconds for it."
    )


class UpdateRules(Table):
    """`[policy.update]`: what of a trained model may leave (docs/update-filters.md)."""

    parts: list[Part] | None = Field(
        None,
        description="Parts of the network that may be sent, by their names in it; a job must send these, or "
        "parts of these.",
        examples=[["head"]],
    )
    max_bits: Literal[8, 16, 32] | None = Field(
        None,
        description="Most bits of a number of the update: 8 asks for compression 'int8', 16 also allows "
        "precision 'bfloat16' and 'float16'.",
        examples=[16],
    )
    max_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Largest share of the numbers of the update: asks for compression 'top-k'.",
        examples=[0.1],
    )
    clip: float | None = Field(
        None,
        gt=0,
        description="Largest [update] clip: the L2 norm of what one round may tell.",
        examples=[10.0],
    )


def _unapproved(most: int, what: str) -> Any:
    rest = "in all, without a person's approval: it matters where approval is automatic."
    return Field(most, ge=0, description=f"Most {what}, {rest}")


class PolicyTable(Table):
    """`[policy]`: what a job may do here. An empty list allows nothing; a missing key allows everything."""

    approval: Literal["manual", "automatic"] = Field(
        "manual",
        description="'manual': a job waits for `wardround client approve DIGEST`; 'automatic': it does not. "
        "A job that was denied stays denied in both.",
    )
    tasks: list[str] | None = Field(
        None,
        description="Tasks allowed; without it those that are part of Wardround.",
        examples=[["segmentation"]],
    )
    networks: list[str] | None = Field(
        None,
        description="Networks allowed; without it those that are part of Wardround.",
        examples=[["unet", "cnn"]],
    )
    strategies: list[str] | None = Field(
        None,
        description="Strategies allowed; without it those that are part of Wardround.",
        examples=[["fedavg"]],
    )
    metrics: list[str] | None = Field(
        None,
        description="Metrics allowed besides those of the tasks; without it those that are part of "
        "Wardround.",
        examples=[["brier"]],
    )
    kinds: list[str] | None = Field(
        None,
        description="Kinds of fields that a task may read; without it those that are part of Wardround.",
        examples=[["image", "label"]],
    )
    group_columns: list[str] = Field(
        [],
        description="Columns by whose groups of patients a job may have its test judged; '*' is any.",
        examples=[["sex"]],
    )
    researchers: list[Name] | None = Field(
        None, description="Researchers allowed, by the name that the coordinator gives.", examples=[["jane"]]
    )
    projects: list[Name] | None = Field(
        None, description="Projects allowed, by the name that the coordinator gives.", examples=[["lung"]]
    )
    min_sites: int | None = Field(
        None, ge=1, description="Sites that a job must ask for at least.", examples=[3]
    )
    max_rounds: int | None = Field(None, ge=1, description="Most rounds of a job.", examples=[100])
    rounds_per_day: int | None = Field(
        None, ge=1, description="Most rounds of training a day (local time), of all jobs.", examples=[200]
    )
    evaluations_per_day: int | None = Field(
        None, ge=1, description="Most evaluations a day (local time), of all jobs.", examples=[400]
    )
    max_judged_models: int = _unapproved(10, "models that jobs of no rounds have judged on a dataset")
    max_described: int = _unapproved(
        10, "ways to prepare a dataset's images ([data] of jobs) of which sums are told before round 1"
    )
    max_readings: int = _unapproved(
        20, "ways to read a dataset's rows (columns, classes, categories, modalities of jobs)"
    )
    hours: list[str] | None = Field(
        None,
        description="Times of the day (local) at which the site works for the federation.",
        examples=[["18:00-07:00"]],
    )
    max_model_mb: float = Field(
        LARGEST_MODEL_MB,
        gt=0,
        description="Largest model: MB (10^6 bytes) that travel each way.",
        examples=[100.0],
    )
    min_group: int = Field(
        10,
        ge=1,
        description="Least number of patients behind any figure that leaves, and by which the groups behind "
        "two figures differ.",
    )
    round_counts_to: Literal[5, 10] = Field(
        10, description="Numbers of patients and images leave as multiples of it."
    )
    min_patients_in_update: int = Field(
        10,
        ge=1,
        description="Least number of patients whose images make up an update that leaves unmasked: of a job "
        "without secure aggregation.",
    )
    share_site_metrics: bool = Field(
        False,
        description="Whether this site's own metrics may leave, and its training loss where min_group is 1.",
    )
    figures_for: FiguresFor = Field(
        "nobody",
        description="Who may see at the coordinator what is this site's alone (counts, metrics, times): "
        "'operators', or everybody in the run's 'project'. The sums of all sites are for the project in any "
        "case.",
    )
    secure_aggregation: Literal["allowed", "required"] = Field(
        "allowed", description="'required': a job must ask for secure aggregation."
    )
    min_sites_in_sum: int | None = Field(
        None,
        ge=LEAST_SITES,
        description="Secure aggregation: least number of sites whose updates are summed with this site's.",
        examples=[5],
    )
    share_private_counts: bool = Field(
        False,
        description="Under a job with differential privacy: whether this site's numbers of patients and "
        "images may leave. The guarantee does not cover them.",
    )
    share_private_metrics: bool = Field(
        False,
        description="Under a job with differential privacy: whether metrics on this site's validation and "
        "test patients may leave. The guarantee does not cover them. The training loss never leaves.",
    )
    distributed_noise: bool = Field(
        False,
        description="Under a job with differential privacy: whether this site may add no more than its share "
        "of the noise (`[privacy] noise`: 'distributed'). The ledger then counts on the job's "
        "`honest_sites`.",
    )
    compile: bool = Field(
        False,
        description="Whether a job may have its network compiled on this machine: PyTorch writes C++ code "
        "from the network, and the machine's compiler makes kernels of it, kept in `state/kernels`.",
    )
    update: UpdateRules = Field(UpdateRules(), description="What of a trained model may leave.")
    privacy: dict[Name, Cap] = Field({}, description="What may be spent of a dataset's privacy.")
    counts: dict[Name, CountsRules] = Field(
        {}, description="Which counts of a dataset's patients may be told before there is a job."
    )

    @field_validator("tasks", "networks", "strategies", "metrics", "kinds")
    @classmethod
    def _are_known(cls, names: list[str] | None, info: Any) -> list[str] | None:
        for name in names or ():
            if name not in (known := registry_of(info.field_name)):
                raise ValueError(f"knows no '{name}'; {suggestion(name, known)}")
        return names

    @field_validator("hours")
    @classmethod
    def _spans(cls, hours: list[str] | None) -> list[str] | None:
        for span in hours or ():
            if not _HOURS.fullmatch(span):
                raise ValueError(f"'{span}' must look like '18:00-07:00'")
        return hours


def rounded(count: int, step: int) -> int:
    """Return a count as it may be told: the nearest multiple of a step, at least one, and halves up."""
    return max((2 * count + step) // (2 * step), 1) * step


def check_job(policy: PolicyTable, job: JobSpec, site: str) -> None:
    """Check what depends on the job alone; a simulation does it too.

    Raises:
        PolicyError: A rule refuses the job.
    """
    asked: Iterable[tuple[str, str, list[str] | None]] = (
        ("tasks", job.task.name, policy.tasks),
        *(("networks", name, policy.networks) for name in network_names(job)),
        ("strategies", job.strategy.name, policy.strategies),
        *(("metrics", metric.name, policy.metrics) for metric in job.evaluation.metrics),
        *(("kinds", field.kind, policy.kinds) for field in job.task.fields().values()),
    )
    for rule, name, allowed in asked:
        package = registry_of(rule).package.get(name)
        if allowed is None and package is not None:
            raise PolicyError(
                f"policy.{rule} does not name '{name}', which comes with the package {package}", where=site
            )
        if allowed is not None and name not in allowed:
            raise PolicyError(f"policy.{rule} does not allow '{name}'", where=site)
    _check_groups(policy, job, site)
    if policy.max_rounds is not None and job.job.rounds > policy.max_rounds:
        problem = f"policy.max_rounds allows {policy.max_rounds}, the job has {job.job.rounds}"
        raise PolicyError(problem, where=site)
    if policy.min_sites is not None and job.strategy.min_sites < policy.min_sites:
        problem = (
            f"policy.min_sites asks for {policy.min_sites}, the job goes on with {job.strategy.min_sites}"
        )
        raise PolicyError(problem, where=site, remedy=f"Set [strategy] min_sites = {policy.min_sites}.")
    if job.job.describes:
        _check_description(policy, job, site)
    if job.training.compile and not policy.compile:
        problem = "policy.compile is false, and the job has its network compiled at the site"
        raise PolicyError(problem, where=site, remedy="Take [training] compile out of the job.")
    _check_secure_aggregation(policy, job, site)
    _check_update(policy.update, job, site)


def _check_groups(policy: PolicyTable, job: JobSpec, site: str) -> None:
    for own in job.evaluation.groups:
        if not {own.column, "*"} & set(policy.group_columns):
            raise PolicyError(f"policy.group_columns does not allow '{own.column}'", where=site)


def _check_description(policy: PolicyTable, job: JobSpec, site: str) -> None:
    """Refuse to describe patients on whom nobody may train without differential privacy."""
    cap = policy.privacy.get(job.job.dataset)
    if cap is not None and cap.required:
        problem = f"policy.privacy.{job.job.dataset}: no differential privacy is on what describes the data"
        raise PolicyError(problem, where=site)


def _check_secure_aggregation(policy: PolicyTable, job: JobSpec, site: str) -> None:
    if not job.privacy.secure_aggregation:
        if policy.secure_aggregation == "required":
            problem = "policy.secure_aggregation is required, and the job would show single updates"
            raise PolicyError(problem, where=site, remedy="Set [privacy] secure_aggregation = true.")
        return
    least = policy.min_sites_in_sum
    if least is not None and job.strategy.min_sites < least:
        problem = f"policy.min_sites_in_sum asks for {least}, the job goes on with {job.strategy.min_sites}"
        raise PolicyError(problem, where=site, remedy=f"Set [strategy] min_sites = {least}.")


def _check_update(rules: UpdateRules, job: JobSpec, site: str) -> None:
    update = job.update
    if rules.parts is not None:
        sent = changed_parts(job)
        beyond = ["the whole network"] if sent is None else []
        beyond += [part for part in sent or [] if not is_within(part, rules.parts)]
        if beyond:
            problem = f"policy.update.parts does not allow to send {', '.join(beyond)}"
            remedy = f"Set [update] parts = {rules.parts} or parts of these."
            raise PolicyError(problem, where=site, remedy=remedy)
    if rules.max_bits is not None and update.bits > rules.max_bits:
        problem = f"policy.update.max_bits allows {rules.max_bits}, the job sends numbers of {update.bits}"
        remedy = "Set [update] compression = 'int8'" + " or a precision of 16 bits." * (rules.max_bits == 16)
        raise PolicyError(problem, where=site, remedy=remedy)
    if rules.max_share is not None and (update.keep or 1.0) > rules.max_share:
        problem = f"policy.update.max_share allows {rules.max_share:g}, the job sends {update.keep or 1:g}"
        remedy = f"Set [update] compression = 'top-k', keep = {rules.max_share:g}."
        raise PolicyError(problem, where=site, remedy=remedy)
    if rules.clip is not None and (update.clip is None or update.clip > rules.clip):
        asked = "nothing" if update.clip is None else f"to {update.clip:g}"
        problem = f"policy.update.clip asks for {rules.clip:g}, the job clips {asked}"
        raise PolicyError(problem, where=site, remedy=f"Set [update] clip = {rules.clip:g}.")


def check_privacy(policy: PolicyTable, job: JobSpec, site: str) -> None:
    """Check that a job protects whom the policy protects; what it spends is the ledger's business.

    Raises:
        PolicyError: It protects nobody, or others, or needs a number of examples that is to stay.
    """
    cap = policy.privacy.get(job.job.dataset)
    if (
        job.privacy.mechanism != "dp-sgd"
    ):  # the site's own doing; of what the coordinator adds it knows nothing
        if cap is not None and cap.required:
            problem = f"policy.privacy demands differential privacy for '{job.job.dataset}'"
            raise PolicyError(problem, where=site, remedy="Set [privacy] mechanism = 'dp-sgd' in the job.")
        return
    if cap is not None and job.privacy.unit != cap.unit:
        problem = f"policy.privacy counts by {cap.unit}, the job protects each {job.privacy.unit}"
        raise PolicyError(problem, where=site, remedy=f"Set [privacy] unit = '{cap.unit}' in the job.")
    if job.privacy.noise == "distributed" and not policy.distributed_noise:
        problem = "policy.distributed_noise is false, and the job counts on the noise of other sites"
        raise PolicyError(problem, where=site, remedy="Set [privacy] noise = 'local' in the job.")
    if job.strategy.weight == "examples" and not policy.share_private_counts:
        problem = "policy.share_private_counts keeps the number of examples, by which the job weighs sites"
        raise PolicyError(problem, where=site, remedy="Set [strategy] weight = 'equal' in the job.")


def check_size(policy: PolicyTable, megabytes: float, site: str) -> None:
    """Check the size of the model that travels.

    Raises:
        PolicyError: It is above the largest allowed.
    """
    most = policy.max_model_mb
    if megabytes > most:
        problem = f"policy.max_model_mb allows {most:g} MB, the job's model has {megabytes:.1f} MB"
        raise PolicyError(problem, where=site)


def check_project(policy: PolicyTable, project: str, site: str) -> None:
    """Check for which project a run is; a simulation, which is for none, does not.

    Args:
        policy: The site's.
        project: As the coordinator names it.
        site: Name of the site, for the error.

    Raises:
        PolicyError: The policy names projects, and not this one.
    """
    if policy.projects is not None and project not in policy.projects:
        what = f"the project '{project}'" if project else "a run without a project"
        raise PolicyError(f"policy.projects does not allow {what}", where=site)
