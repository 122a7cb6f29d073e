"""Numbers that can't be in the unit in which a job states their mean and standard deviation."""

from collections.abc import Iterator, Mapping

from client.data.kinds.tally import Range, Tally
from shared.job.schema import JobSpec
from shared.tasks.regression.options import LARGEST, Regression


def too_far(job: JobSpec | None, tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Yield which targets of a regression are further from their stated mean than an evaluation counts.

    A site evaluates all the same: an error would leave it, and tell of one patient.

    Args:
        job: Where there is one.
        tallies: Field -> what its values are.
    """
    if job is None or not isinstance(job.task, Regression):
        return
    stated, found = job.task.scaling or {}, dict[str, Range]()
    for tally in tallies.values():
        found |= tally.numbers
    for name in job.task.targets:
        if name not in stated or name not in found:
            continue
        mean, deviation = stated[name]
        most = max(abs(found[name].lowest - mean), abs(found[name].highest - mean)) / deviation
        if most > LARGEST:
            yield (
                f"column '{name}' is up to {most:.4g} standard deviations from the mean, and counts with "
                f"{LARGEST:.0f}: [task] scaling is to be in the unit of the column"
            )
