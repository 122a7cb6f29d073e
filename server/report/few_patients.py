"""Warnings about figures that rest on few patients."""

from collections.abc import Iterator

from shared.job.schema import JobSpec
from shared.text.plural import many

FEW = 30
"""Patients who choose a round: the standard error of a share of 0.8 is then 0.07."""


def few_choose(job: JobSpec, patients: int | None) -> Iterator[str]:
    """Yield a warning where few validation patients choose among rounds.

    Args:
        job: What is asked.
        patients: Who validate at all sites; None where that is not known.
    """
    chosen, rounds = job.evaluation.select_best, job.job.rounds // job.evaluation.every
    if chosen is None or patients is None or patients >= FEW or rounds < 2:
        return
    who = many(patients, "validation patient")
    yield (
        f"{who} of all hospitals choose the best of {many(rounds, 'round')} by '{chosen}': with so few, "
        "chance chooses. [evaluation] average_last, in place of select_best, needs none"
    )
