"""What a job lets be chosen of its tested model: on validation sums, before anybody looks at the test.

Nothing is asked of a site for it: the histograms of the validation have left anyway, and those of the test
have no more bins than without it, but some of their edges lie where what was chosen lies.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from server.rounds.federation import Member
from server.rounds.group_figures import group_entries
from server.runs.checkpoint import Best
from shared.decisions.choice import KEY, Choice
from shared.decisions.choosing import choose
from shared.decisions.judged import judged as judged_figures
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.strategies.vectors import SiteHalf
from shared.strategies.wire import Wire

if TYPE_CHECKING:
    from server.rounds.judging import Judged


def require_one_model(job: JobSpec, wire: Wire) -> None:
    """Refuse to choose anything of models that are another one at each site: sums are of no single model.

    Raises:
        JobError: The job asks for it.
    """
    if job.evaluation.decisions is None:
        return
    half = job.strategy.site(wire.model, wire.personal)
    if type(half).judged is not SiteHalf.judged:
        raise JobError(
            f"[evaluation.decisions]: with '{job.strategy.name}' each site judges a model of its own, "
            "and what is chosen by the sum of all would be right for none",
            where=job.job.name,
            remedy="Leave the table out, or take a strategy with one model for all.",
        )


def chosen(job: JobSpec, tested: Best, members: Sequence[Member]) -> Choice | None:
    """Return what is chosen of the model that is to be tested; None where nothing is asked for or known.

    Args:
        job: Of the run.
        tested: With the histograms of its validation.
        members: That judged it then.
    """
    asked, found = job.evaluation.decisions, job.task.classified()
    if asked is None or found is None or tested.curves is None:
        return None
    return choose(asked, found[1], tested.curves, tested.round, _patients(members, "val"))


def entries(job: JobSpec, choice: Choice | None, test: "Judged", members: Sequence[Member]) -> dict[str, Any]:
    """Return entries of `run.json`: how what was chosen does on the test, and what it says of groups.

    Args:
        job: Of the run.
        choice: Made before the test.
        test: What the test brought; of single sites where their own states are known.
        members: That were asked.
    """
    found, patients = job.task.classified(), _patients(members, "test")
    told: dict[str, Any] = {}
    if test.pooled is not None:
        told |= group_entries(job, choice, test.pooled, test.known, patients)
    if choice is None or found is None:
        return told
    own: dict[str, Any] = {"chosen": choice.model_dump(), "judged": {}, "sites": {}}
    if test.curves is not None:
        own["judged"] = judged_figures(choice, found[1], test.curves, patients)
    for name, metrics in test.known.items():
        curves = metrics.whole.curves()
        alone = [member for member in members if member.name == name]
        if curves is not None:
            own["sites"][name] = judged_figures(choice, found[1], curves, _patients(alone, "test"))
    return told | {KEY: own}


def _patients(members: Sequence[Member], split: str) -> int:
    return sum(member.description.patients.get(split, 0) for member in members)
