"""What the tables of a job must agree on between them."""

import math
from typing import TYPE_CHECKING

from shared.job.decision_options import check_decisions
from shared.job.evaluation_rules import check_evaluation
from shared.job.judging_rules import check_judging
from shared.job.privacy_rules import check_privacy
from shared.job_parts import misnamed_networks, networks_of, phases_of
from shared.limits import LARGEST_JOB, LARGEST_MODEL_MB
from shared.metrics.group_options import check_groups
from shared.metrics.statistic_spec import check_specs
from shared.networks import fitting_networks
from shared.networks.options import DeepMapOptions
from shared.tasks.fields import PIXELS, is_side_table
from shared.tasks.options import ClassesOptions
from shared.text.names import shown, suggestion

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

LARGEST_IMAGE = 2**28
"""Numbers in an image, or in the patch that is trained on, with all channels: 1 GiB of float32."""

LARGEST_BATCH = 2**30
"""Numbers in the images of a step: 4 GiB of float32."""


def check(job: "JobSpec") -> None:
    """Raise ValueError, naming table and key, where two tables contradict each other."""
    for rule in (
        _length,
        _tables,
        _data,
        _task,
        _networks,
        _phases,
        _optimizer,
        _adversarial,
        _sampling,
        _network,
        _network_input,
        _start,
        check_judging,
        _batch,
        _network_size,
        _metrics,
        check_evaluation,
        check_decisions,
        check_groups,
        _strategy,
        _statistics,
        check_privacy,
        _update,
    ):
        rule(job)


def _length(job: "JobSpec") -> None:
    characters = len(job.canonical())
    if characters > LARGEST_JOB:
        raise ValueError(f"the job has {characters} characters as JSON, and {LARGEST_JOB} is the most")


def _tables(job: "JobSpec") -> None:
    for column in (column for own in job.task.fields().values() for column in own.columns):
        if is_side_table(column) and {"/", "\\"} & set(column):
            raise ValueError(f"[task]: the table '{column}' lies beside the manifest; name no folder")


def _data(job: "JobSpec") -> None:
    kinds = {own.kind for own in job.task.fields().values()}
    pixels = [own.kind for own in job.task.fields().values() if own.kind in {*PIXELS, "scale"}]
    if (job.data.landmarks or job.data.bias_correction) and pixels != ["image"]:
        raise ValueError("[data] landmarks, bias_correction: are for tasks with one image, in any unit")
    for key, kind in (("mpp", "tiles"), ("stain", "tiles"), ("frames", "series"), ("frame_step", "series")):
        if getattr(job.data, key) is not None and kind not in kinds:
            raise ValueError(f"[data] {key}: is about {kind}, and this job's {job.task.name} has none")
    if not kinds & PIXELS:
        keys = {key: field.default for key, field in type(job.data).model_fields.items()}
        keys = {key: default for key, default in keys.items() if key not in {"fold", "fold_draw"}}
        for key in (key for key, default in keys.items() if getattr(job.data, key) != default):
            raise ValueError(f"[data] {key}: is about images, and this job's {job.task.name} sees none")
    elif job.data.size is None and job.data.patch is None:
        raise ValueError("[data] size: is missing; give the size of the images, or a patch to train on")


def _task(job: "JobSpec") -> None:
    for problem in (*job.task.problems(job), *check_specs(job.statistics())):
        raise ValueError(problem)
    if job.data.patch is not None and not job.task.takes_patches:
        raise ValueError(f"[data] patch: is not for {job.task.name}")


def _networks(job: "JobSpec") -> None:
    for problem in misnamed_networks(job):
        raise ValueError(problem)


def _phases(job: "JobSpec") -> None:
    names = [phase.name for phase in job.task.phases(job.data)]
    for name in job.training.phases:
        if name not in names:
            raise ValueError(
                f"[training.{shown(name)}]: is not a phase of '{job.task.name}'; {suggestion(name, names)}"
            )


def _optimizer(job: "JobSpec") -> None:
    if not job.training.keep_optimizer:
        return
    if all(own.optimizer == "sgd" and not own.momentum for own in phases_of(job).values()):
        raise ValueError("[training] keep_optimizer: 'sgd' without momentum remembers nothing to keep")
    if job.privacy.mechanism == "dp-sgd":
        raise ValueError("[training] keep_optimizer: private training begins each round with a new optimiser")


def _adversarial(job: "JobSpec") -> None:
    if job.training.adversarial is None:
        return
    inputs = [own.kind for own in job.task.fields().values() if own.role == "input"]
    if (images := inputs.count("image")) != 1:
        raise ValueError(
            f"[training.adversarial]: changes the image of a sample, and in {job.task.name} it has {images}"
        )
    if len(phases_of(job)) > 1:
        raise ValueError(
            f"[training.adversarial]: raises the one loss of a step, and a step of '{job.task.name}' has "
            "several phases"
        )
    if job.training.compile:
        raise ValueError("[training] compile: an attack asks the networks in another mode; leave it out")


def _sampling(job: "JobSpec") -> None:
    if job.training.passes == "continued" and (
        job.privacy.secure_aggregation or job.privacy.mechanism == "dp-sgd"
    ):
        raise ValueError(
            "[training] passes: 'continued' can't be had with secure_aggregation, where the model is part of "
            "what orders the images, nor with 'dp-sgd', which draws patients for each step"
        )
    if job.training.sampling == "shuffled":
        return
    found = job.task.classified()
    if found is None or found[1].kind != "label" or found[1].several:
        raise ValueError(
            f"[training] sampling: 'class-balanced' is for one label per image, and {job.task.name} has none"
        )
    if isinstance(job.task, ClassesOptions) and job.task.corrects_for_counts:
        raise ValueError(
            "[training] sampling: 'class-balanced' shows classes equally often, and class_weights or a loss "
            "that corrects for class counts would do so again; take one of them"
        )
    if job.privacy.mechanism == "dp-sgd":
        raise ValueError(
            "[training] sampling: must be 'shuffled' with 'dp-sgd', which draws patients with one chance: "
            "which classes are rare at a site no noise protects"
        )


def _network(job: "JobSpec") -> None:
    for network in networks_of(job):
        name, fitting = network.options.name, fitting_networks(network.ends)
        if name not in fitting:
            raise ValueError(
                f"[{network.table}] name: '{name}' is not for {job.task.name} "
                f"{network.ends.of_what}; {suggestion(name, fitting)}"
            )
        if (problem := network.options.problem(network.ends)) is not None:
            raise ValueError(f"[{network.table}] {problem}")

        if isinstance(network.options, DeepMapOptions) and network.options.deep_supervision:
            _levels(job, network.table)


def _levels(job: "JobSpec", table: str) -> None:
    if not job.task.takes_levels:
        raise ValueError(f"[{table}] deep_supervision: is for tasks with a mask, not for {job.task.name}")


def _network_input(job: "JobSpec") -> None:
    key = "patch" if job.data.patch else "size"
    for network in networks_of(job):
        model, ends = network.options, network.ends
        if not ends.dimensions:
            continue
        if (need := model.size_problem(ends.size)) is not None:
            raise ValueError(f"[data] {key}: '{model.name}' needs {need}; got {ends.size}")
        if model.input_channels is not None and ends.channels not in model.input_channels:
            raise ValueError(
                f"[data] channels: '{model.name}' takes {sorted(model.input_channels)}; got {ends.channels}"
            )


def _start(job: "JobSpec") -> None:
    for network in networks_of(job):
        for problem in network.options.start_problems(network.ends, private=job.privacy.mechanism != "none"):
            raise ValueError(f"[{network.table}] {problem}")


def _batch(job: "JobSpec") -> None:
    key = "patch" if job.data.patch else "size"
    pixels = math.prod(job.data.patch or job.data.size or []) * job.data.channels
    if pixels > LARGEST_IMAGE:
        raise ValueError(
            f"[data] {key}: an image of {pixels} numbers is too large; {LARGEST_IMAGE} is the most"
        )
    if (numbers := pixels * job.training.batch_size) > LARGEST_BATCH:
        raise ValueError(
            f"[training] batch_size: a step of {job.training.batch_size} such images has {numbers} numbers, "
            f"and {LARGEST_BATCH} is the most"
        )


def about_model_megabytes(job: "JobSpec") -> float:
    """Return about how many MB (10^6 bytes) a job's model has."""
    return sum(network.options.about_numbers(network.ends) * 4 / 1e6 for network in networks_of(job))


def _network_size(job: "JobSpec") -> None:
    if (about := about_model_megabytes(job)) > LARGEST_MODEL_MB * 4 / 3:
        raise ValueError(
            f"[model] name: {_these(job)} about {about / 1000:.1f} GB, and "
            f"{LARGEST_MODEL_MB / 1000:g} GB is the most; take fewer features or levels"
        )


def _metrics(job: "JobSpec") -> None:
    own = {spec.name for spec in job.task.metrics()}
    for metric in job.evaluation.metrics:
        if (problem := metric.problem(job.task)) is not None:
            raise ValueError(f"[evaluation] metrics: '{metric.name}' {problem}, not for {job.task.name}")
        if metric.name in own:
            raise ValueError(f"[evaluation] metrics: {job.task.name} has '{metric.name}' of its own")


def _these(job: "JobSpec") -> str:
    names = [f"'{network.options.name}'" for network in networks_of(job)]
    return f"this {names[0]} has" if len(names) == 1 else f"{' and '.join(names)} have"


def _strategy(job: "JobSpec") -> None:
    for problem in job.strategy.problems(job):
        raise ValueError(problem)


def _statistics(job: "JobSpec") -> None:
    """What is added up before the first round changes the model, and no noise of a mechanism is on it."""
    mechanism = job.privacy.mechanism
    if mechanism == "none":
        return
    for spec in job.statistics():
        raise ValueError(
            f"[privacy] mechanism: the noise of '{mechanism}' does not protect what is added up before the "
            f"first round ({spec.told}); {spec.instead}"
        )


def _update(job: "JobSpec") -> None:
    update = job.update
    if update.compression == "top-k" and job.strategy.compares_updates:
        raise ValueError(
            f"[update] compression: '{job.strategy.name}' compares the updates number by number, and with "
            "'top-k' each site sends other numbers; take 'int8'"
        )
    if not job.privacy.secure_aggregation:
        return
    if update.compression != "none":
        raise ValueError(
            f"[update] compression: must be 'none' with secure_aggregation, as masks hide numbers of full "
            f"length only, and those of '{update.compression}' can't be added up"
        )
    if update.precision != "float32":
        raise ValueError(
            "[update] precision: must be 'float32' with secure_aggregation, whose masked numbers have 64 bits"
        )
