"""What a run promises to the patients, in words: for the run's report.

The coordinator knows what the job asks for and what each site let out, and says no more than follows from
that. What a site's patients have really lost stands in the site's own ledger.
"""

from collections.abc import Collection, Mapping
from typing import Any

from server.rounds.federation import trains
from shared.job.schema import JobSpec
from shared.job_parts import phases_with_data
from shared.metrics.visibility import counts_are_told
from shared.privacy.accounting import Steps, epsilon_of
from shared.privacy.site_noise import site_steps

_ACCOUNTANT = "RDP (Opacus)"
_AGAINST = {
    "dp-sgd": "whoever sees its updates, the coordinator included",
    "distributed": "whoever sees no more than the sum of a round's updates",
    "site-level": "whoever gets the models, but not against the coordinator, which sees each update as it is",
}


def guarantee(
    job: JobSpec,
    sites: Mapping[str, Mapping[str, Mapping[str, int]]],
    tested: Collection[str],
    *,
    trainings: int,
    rehearsal: bool,
) -> dict[str, Any]:
    """Return the guarantee of a finished run, as `run.json` holds it; nothing for a job that asks for none.

    Args:
        job: What was asked.
        sites: For each site, patients and examples by split, as far as it tells them.
        tested: The sites whose metrics were let out, alone or in a sum.
        trainings: Rounds that were begun; one that was repeated counts each time.
        rehearsal: The noise came from the job's seed, as in a simulation.

    Returns:
        `guaranteed`, `note`, and under `sites` for each site: unit, epsilon (null where it follows from
        nothing that the site tells), delta, accountant, released, `not_covered`, and all of it as `words`.
    """
    if job.privacy.mechanism == "none":
        return {}
    note = "The coordinator's account; the ledger of each site has what was really spent."
    if job.privacy.mechanism == "site-level":
        note = "The coordinator's account: no ledger of a site counts it."
    if rehearsal:
        note = (
            "A SIMULATION CARRIES NO GUARANTEE: its noise comes from the job's seed, and whoever knows the "
            "seed can take it off. At real hospitals the same run would promise:"
        )
    of_sites = {}
    for name, counts in sites.items():
        if not trains(job, counts["patients"]):
            of_sites[name] = {"words": _of_judge(tested=name in tested)}
            continue
        facts = _facts(job, counts, trainings, tested=name in tested)
        of_sites[name] = facts | {"words": _words(job, facts, trainings)}
    return {"guaranteed": not rehearsal, "note": note, "sites": of_sites}


def _of_judge(*, tested: bool) -> str:
    """Return what can be said to the patients of a site that judged the models and trained none."""
    figures = "; metrics on them are known to the coordinator, and not covered" if tested else ""
    return f"its patients were not trained on, and no update tells of them{figures}."


def _facts(
    job: JobSpec, counts: Mapping[str, Mapping[str, int]], trainings: int, *, tested: bool
) -> dict[str, Any]:
    privacy = job.privacy
    examples = counts["examples"]
    told = counts_are_told(examples)
    site_level = privacy.mechanism == "site-level"
    metrics = "metrics on its validation and test patients"
    if privacy.secure_aggregation:
        metrics += ", in a sum with those of other sites"
    open_ = {
        "numbers of patients and images": told,
        "the training loss": site_level,
        metrics: tested,
    }
    updates = "sum of the sites' updates" if privacy.secure_aggregation else "site's update"
    return {
        "unit": "site" if site_level else privacy.unit,
        "epsilon": _epsilon(job, counts, trainings, told=told),
        "delta": privacy.delta,
        "accountant": _ACCOUNTANT,
        "released": "the mean of the sites' updates with noise, once a round"
        if site_level
        else f"the {updates} with noise, once a round",
        "not_covered": [what for what, leaves in open_.items() if leaves],
    }


def _epsilon(
    job: JobSpec, counts: Mapping[str, Mapping[str, int]], trainings: int, *, told: bool
) -> float | None:
    """Return what a unit of the site has lost at most, where that follows from what is known here."""
    privacy = job.privacy
    if privacy.epsilon is not None and trainings <= job.job.rounds:
        return privacy.epsilon
    if privacy.mechanism == "site-level":
        return epsilon_of([site_steps(job, trainings)], privacy.delta)
    if privacy.noise_multiplier is None:
        return None  # repeated rounds were not planned for, and the site's noise is not known here
    # Where counts stay, a site has told that it has at least that many patients: then less is lost.
    units = max(counts["patients"]["train"], counts["examples"]["train"] if privacy.unit == "image" else 1)
    batch = min(job.training.batch_size, units)
    steps = job.training.local_steps
    if steps is None:
        if not told:
            return None  # their number depends on the patients
        steps = -(-(job.training.local_epochs or 1) * units // batch)
    steps *= phases_with_data(job) * trainings
    return epsilon_of([Steps(privacy.noise_multiplier, batch / units, steps)], privacy.delta)


def _words(job: JobSpec, facts: Mapping[str, Any], trainings: int) -> str:
    privacy = job.privacy
    unit, epsilon = facts["unit"], facts["epsilon"]
    amount = "an epsilon that only the site's ledger knows" if epsilon is None else f"epsilon {epsilon:.3g}"
    text = (
        f"each {unit} loses at most {amount} at delta {privacy.delta:g} over {trainings} trainings, by the "
        f"accountant {_ACCOUNTANT}, against {_AGAINST[_kind(job)]}. Released: {facts['released']}."
    )
    if unit == "patient":
        text += " A patient is meant with all images that lie at this site under one name."
    if privacy.honest_sites is not None:
        text += (
            f" It holds if {privacy.honest_sites} sites or more of each sum are honest: they added their "
            f"share of the noise, and told nobody (at least {job.strategy.min_sites} were in each sum)."
        )
    if facts["not_covered"]:
        text += f" Not covered, and known to the coordinator: {', '.join(facts['not_covered'])}."
    return text


def _kind(job: JobSpec) -> str:
    return "distributed" if job.privacy.noise == "distributed" else job.privacy.mechanism
