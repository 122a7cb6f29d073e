"""The hospital's policy, line by line: what each means here in plain words, and what it refuses."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from client.settings.counts_rules import CountsRules
from client.settings.policy import Cap, PolicyTable, UpdateRules
from shared.table import Table
from shared.text.plural import many

NOTHING = ""


@dataclass(frozen=True)
class PolicyLine:
    """One line of the policy.

    Attributes:
        key: As in `site.toml`.
        value: As in `site.toml`; empty where there is none.
        is_set: Whether the file has it; otherwise it is the default.
        means: What holds here, as a sentence.
        refuses: Which jobs or requests; empty where it refuses none.
    """

    key: str
    value: str
    is_set: bool
    means: str
    refuses: str


Words = tuple[str, str]
"""What a value means, and what it refuses."""


def policy_lines(policy: PolicyTable) -> list[PolicyLine]:
    """Return every line of a policy, in the order of the schema; those of single datasets at the end."""
    found = [
        _line(name, policy, name, _WORDS[name](policy))
        for name in PolicyTable.model_fields
        if name not in {"update", "privacy", "counts"}
    ]
    found += [
        _line(f"update.{name}", policy.update, name, _UPDATE_WORDS[name](policy.update))
        for name in UpdateRules.model_fields
    ]
    found += [_told(name, rules) for name, rules in policy.counts.items()]
    return found + [line for name, cap in policy.privacy.items() for line in _budget(name, cap)]


def _line(key: str, table: Table, name: str, words: Words) -> PolicyLine:
    value = getattr(table, name)
    spelt = "" if value is None else json.dumps(value, ensure_ascii=False)
    return PolicyLine(key, spelt, name in table.model_fields_set, *words)


def _approval(policy: PolicyTable) -> Words:
    if policy.approval == "manual":
        return (
            "A person here approves each job before it may train.",
            "a job that nobody approved, or was denied",
        )
    return "A job that no other line refuses trains without a person's word.", "a job that was denied here"


def _names(what: str, key: str) -> Callable[[PolicyTable], Words]:
    def words(policy: PolicyTable) -> Words:
        names = getattr(policy, key)
        if names is None:
            return (
                f"Every one of the {what} that come with Wardround may be asked for.",
                "those of other packages",
            )
        if not names:
            return f"None of the {what} may be asked for.", "every job that asks for one"
        return f"Of the {what} these may be asked for: {', '.join(names)}.", "a job that asks for another"

    return words


def _group_columns(policy: PolicyTable) -> Words:
    if not policy.group_columns:
        return "No test is judged in groups of patients here.", "a job that asks for groups"
    if "*" in policy.group_columns:
        return "A test may be judged in groups of patients by any column.", NOTHING
    names = ", ".join(policy.group_columns)
    return f"A test may be judged in groups of patients by: {names}.", "a job that asks for another column"


def _people(what: str, key: str) -> Callable[[PolicyTable], Words]:
    def words(policy: PolicyTable) -> Words:
        names = getattr(policy, key)
        if names is None:
            return f"Jobs of all {what} are considered.", NOTHING
        who = ", ".join(names) or "nobody"
        return f"On the coordinator's word, jobs of these {what} are considered: {who}.", "the jobs of others"

    return words


def _most(key: str, some: str, none: str, refuses: str) -> Callable[[PolicyTable], Words]:
    """Return words of a number; `{}` in them stands for it, before a plural."""

    def words(policy: PolicyTable) -> Words:
        value = getattr(policy, key)
        return (none, NOTHING) if value is None else (_counted(some, value), _counted(refuses, value))

    return words


def _counted(text: str, value: float) -> str:
    said = text.format(value)
    return re.sub(r"\b1 (round|site|patient|time|model)s\b", r"1 \1", said) if value == 1 else said


def _yes_or_no(key: str, yes: Words, no: Words) -> Callable[[PolicyTable], Words]:
    return lambda policy: yes if getattr(policy, key) else no


def _hours(policy: PolicyTable) -> Words:
    if policy.hours is None:
        return "The site works for the federation at any time of the day.", NOTHING
    spans = ", ".join(policy.hours) or "never"
    return (
        f"The site works for the federation at these times, by its own clock: {spans}.",
        "requests at others",
    )


def _figures_for(policy: PolicyTable) -> Words:
    who = {
        "nobody": "nobody",
        "operators": "the coordinator's operators",
        "project": "everybody in the run's project",
    }[policy.figures_for]
    return f"The coordinator is asked to show what is this site's alone to {who}.", NOTHING


def _secure(policy: PolicyTable) -> Words:
    if policy.secure_aggregation == "required":
        return (
            "The coordinator gets this site's update only as part of a sum with other sites'.",
            "a job without secure aggregation",
        )
    return "A job may show the coordinator this site's own update, or ask for masked sums.", NOTHING


_WORDS: dict[str, Callable[[PolicyTable], Words]] = {
    "approval": _approval,
    "tasks": _names("tasks", "tasks"),
    "networks": _names("networks", "networks"),
    "strategies": _names("strategies", "strategies"),
    "metrics": _names("further metrics", "metrics"),
    "kinds": _names("kinds of data", "kinds"),
    "group_columns": _group_columns,
    "researchers": _people("researchers", "researchers"),
    "projects": _people("projects", "projects"),
    "min_sites": _most(
        "min_sites",
        "A round needs {} sites or more.",
        "The job says how few sites may make up a round.",
        "a job that would go on with fewer than {} sites",
    ),
    "max_rounds": _most(
        "max_rounds",
        "A job has {} rounds at most.",
        "The job says how many rounds it has; its approval covers no more.",
        "a job with more than {} rounds",
    ),
    "rounds_per_day": _most(
        "rounds_per_day",
        "All jobs together train here {} rounds a day at most.",
        "Rounds of a day are not counted.",
        "a round after {} rounds in one day",
    ),
    "evaluations_per_day": _most(
        "evaluations_per_day",
        "Models of all jobs are judged here {} times a day at most.",
        "Evaluations of a day are not counted.",
        "an evaluation after {} in one day",
    ),
    "max_judged_models": _most(
        "max_judged_models",
        "Jobs of no rounds have {} models judged on a dataset, in all; for more a person has to say yes.",
        "",
        "a model to be judged after {}, if nobody has approved the job",
    ),
    "max_described": _most(
        "max_described",
        "Sums of a dataset's images are told of {} ways to prepare them; for more a person has to say yes.",
        "",
        "sums of images prepared in another way after {}, if nobody has approved the job",
    ),
    "max_readings": _most(
        "max_readings",
        "Rows of a dataset are read in {} ways (columns, classes); for more a person has to say yes.",
        "",
        "rows read in another way after {}, if nobody has approved the job",
    ),
    "hours": _hours,
    "max_model_mb": _most(
        "max_model_mb",
        "A model has {:g} MB at most.",
        "",
        "a job whose model is larger than {:g} MB",
    ),
    "min_group": _most(
        "min_group",
        "No figure leaves about fewer than {} patients, nor two figures whose patients differ by fewer.",
        "",
        "training on fewer than {} patients, and figures about smaller groups",
    ),
    "round_counts_to": _most(
        "round_counts_to", "Numbers of patients and images leave as multiples of {}.", "", NOTHING
    ),
    "min_patients_in_update": _most(
        "min_patients_in_update",
        "The images of {} patients or more make up each update that leaves unmasked.",
        "",
        "a job whose updates would be of fewer than {} patients, without secure aggregation",
    ),
    "share_site_metrics": _yes_or_no(
        "share_site_metrics",
        ("The coordinator may compute this hospital's own scores.", NOTHING),
        ("This hospital's own scores stay here; they may count in masked sums.", NOTHING),
    ),
    "figures_for": _figures_for,
    "secure_aggregation": _secure,
    "min_sites_in_sum": _most(
        "min_sites_in_sum",
        "A masked sum has {} sites or more.",
        "The job says of how many sites a masked sum is.",
        "a sum of fewer than {} sites",
    ),
    "share_private_counts": _yes_or_no(
        "share_private_counts",
        ("Under differential privacy numbers of patients and images may leave too.", NOTHING),
        (
            "Under differential privacy no number of patients or images leaves.",
            "a private job that weighs sites by their images",
        ),
    ),
    "share_private_metrics": _yes_or_no(
        "share_private_metrics",
        ("Under differential privacy scores on validation and test patients may leave.", NOTHING),
        ("Under differential privacy no score on this site's patients leaves.", NOTHING),
    ),
    "distributed_noise": _yes_or_no(
        "distributed_noise",
        ("Under differential privacy this site may add its share of the noise only.", NOTHING),
        (
            "Under differential privacy this site adds all of the noise itself.",
            "a job that counts on the noise of other sites",
        ),
    ),
    "compile": _yes_or_no(
        "compile",
        ("A job may have its network compiled on this machine.", NOTHING),
        ("No job may have its network compiled on this machine.", "a job that asks for it"),
    ),
}


def _parts(rules: UpdateRules) -> Words:
    if rules.parts is None:
        return "The whole network may leave.", NOTHING
    return f"Only these parts of the network may leave: {', '.join(rules.parts)}.", "a job that sends others"


def _bits(rules: UpdateRules) -> Words:
    if rules.max_bits is None:
        return "Numbers may leave as exact as they are.", NOTHING
    return f"Each number leaves in {rules.max_bits} bits at most.", "a job that sends more"


def _share(rules: UpdateRules) -> Words:
    if rules.max_share is None:
        return "All numbers of an update may leave.", NOTHING
    return f"The largest {rules.max_share:.0%} of an update's numbers may leave.", "a job that sends more"


def _clip(rules: UpdateRules) -> Words:
    if rules.clip is None:
        return "An update may be of any length.", NOTHING
    return f"An update is scaled down to a norm of {rules.clip:g}.", "a job that clips less, or not at all"


_UPDATE_WORDS: dict[str, Callable[[UpdateRules], Words]] = {
    "parts": _parts,
    "max_bits": _bits,
    "max_share": _share,
    "clip": _clip,
}


def _told(dataset: str, rules: CountsRules) -> PolicyLine:
    whom = "the site's projects" if rules.projects is None else ", ".join(rules.projects) or "nobody"
    by = " and ".join(rules.values)
    means = f"A person here may tell about how many patients '{dataset}' has, by {by}, to {whom}."
    value = json.dumps(rules.model_dump(exclude_none=True), ensure_ascii=False)
    return PolicyLine(f"counts.{dataset}", value, True, means, NOTHING)


def _budget(dataset: str, cap: Cap) -> Iterator[PolicyLine]:
    period = "for ever" if cap.days is None else f"within any {many(cap.days, 'day')}"
    means = f"All jobs together may cost each {cap.unit} of '{dataset}' epsilon {cap.epsilon:g} at delta "
    refuses = "the round that would pass it"
    if cap.required:
        refuses += "; a job that trains on it without differential privacy"
    if cap.accountant == "prv":
        means = f"Counted by Opacus's PRV accountant: {means[0].lower()}{means[1:]}"
    value = json.dumps(cap.model_dump(exclude_none=True))
    yield PolicyLine(f"privacy.{dataset}", value, True, f"{means}{cap.delta:g}, {period}.", refuses)
