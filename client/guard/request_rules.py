"""What may be asked for a job at all: its own rounds, and the evaluations that these rounds have."""

from client.settings.policy import PolicyError
from shared.job.schema import JobSpec

SPLITS = ("val", "test")


def check_request(job: JobSpec, phase: str, round_: int, split: str, site: str) -> None:
    """Check that a request belongs to a round of its job; a simulation does it too.

    Args:
        job: What was approved.
        phase: ``describe``, ``train``, ``evaluate``, ``statistics``, ``statement`` or a stage of secure
            aggregation.
        round_: As the request says; 0 for a description or statement, and for statistics with their stages.
        split: For an evaluation.
        site: Name of the site, for the error.

    Raises:
        PolicyError: The job has no such round, or no such evaluation after it.
    """
    if phase in ("describe", "statement"):
        return
    is_stage = phase.startswith("secagg-")
    if phase == "statistics" or (is_stage and not round_ and not split):
        if round_ or split or not job.statistics():
            raise PolicyError("job.statistics: the job asks for no sums before its first round", where=site)
        return
    if not job.trains:
        _check_without_rounds(job, phase, round_, split, site)
        return
    if not 1 <= round_ <= job.job.rounds:
        problem = f"job.rounds: the job has rounds 1 to {job.job.rounds}, and round {round_} is asked for"
        raise PolicyError(problem, where=site)
    if split == "test" and not job.evaluation.test:
        raise PolicyError("evaluation.test: the job leaves the test patients alone", where=site)
    if phase != "evaluate":
        return
    if split not in SPLITS:
        raise PolicyError("job.split: asks for a split that no job evaluates on", where=site)
    if not job.evaluates(round_):
        raise PolicyError(f"job.rounds: the job does not evaluate after round {round_}", where=site)


def _check_without_rounds(job: JobSpec, phase: str, round_: int, split: str, site: str) -> None:
    if job.job.describes:
        problem = "job.describes: the job asks for sums of training patients, and nothing else"
        raise PolicyError(problem, where=site)
    if round_ or split != "test" or phase == "train":
        problem = "job.rounds: the job has a model judged on the test patients, and nothing else"
        raise PolicyError(problem, where=site)
