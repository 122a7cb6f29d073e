"""Wardround from Python: the same code as the command line, in a handful of names.

    >>> import wardround
    >>> job = wardround.Job.read("configs/jobs/quickstart.toml", {"job.rounds": 1})
    >>> job.name, job.task, job.rounds
    ('quickstart', 'segmentation', 1)

Importing it loads nothing heavy. What can be put right is a `WardroundError` that says what and how.
"""

from wardround.shadowing import require_ours

require_ours()  # before anything of ours is imported, so that the first import says what is wrong

from shared.errors import WardroundError  # noqa: E402
from wardround.datasets import Dataset  # noqa: E402
from wardround.federations import Submitted, submit  # noqa: E402
from wardround.finished import Comparison, Predictions, Run, compare, predict, report  # noqa: E402
from wardround.jobs import Job  # noqa: E402
from wardround.simulations import resume, simulate  # noqa: E402

__all__ = [
    "Comparison",
    "Dataset",
    "Job",
    "Predictions",
    "Run",
    "Submitted",
    "WardroundError",
    "compare",
    "predict",
    "report",
    "resume",
    "simulate",
    "submit",
]
