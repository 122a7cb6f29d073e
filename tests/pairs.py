"""Jobs of two networks and two phases: the task `toy-pair` of tests/plugin, without installing it."""

import sys
from pathlib import Path
from typing import Any

from shared.job.schema import JobSpec
from tests.jobs import job_tables

sys.path.append(str(Path(__file__).parent / "plugin"))
from wardround_toy import ToyPair

CNN = {"name": "cnn", "channels": [4, 8], "norm": "group"}


class PairSpec(JobSpec):
    """A job whose task is always `toy-pair`."""

    task: ToyPair


def pair_tables(**options: Any) -> dict[str, Any]:
    """Return the tables of a small job, with the options of `job_tables`."""
    pair = {
        "task": {"name": "toy-pair"},
        "model": {"generator": CNN, "discriminator": CNN},
        "evaluation": None,
        "data_augment": None,
        "data_size": [8, 8],
    }
    return job_tables(**pair | options)


def pair_job(**options: Any) -> JobSpec:
    """Return a small job of two networks, with the options of `job_tables`."""
    return PairSpec.model_validate(pair_tables(**options), strict=True)
