"""Sums over pairs that a site makes of its patients: one patient is in the pairs of many others."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from client.data.manifest.partners import with_partners
from client.data.manifest.rows import Manifest, Record
from client.data.manifest.splits import CohortKey
from client.guard.bounded_sums import bound
from client.guard.bounds import Bounds
from client.guard.cohort import Cohort
from client.guard.site_cohort import SiteCohort
from shared.job.schema import JobSpec
from shared.metrics.states import Mean
from shared.tasks import make_task
from tests.jobs import make_job

LEAST, ASKED = 10, 100
LOOK, CHANCE = 0.56, 2.6 * (ASKED / 4) ** 0.5


def bounds_of(job: JobSpec, hospital: int) -> Bounds:
    config = SimpleNamespace(policy=SimpleNamespace(min_group=LEAST))
    request = SimpleNamespace(vector=np.zeros(1, np.float32), edges=None, round=1, split="test")
    return SiteCohort(config, Cohort(CohortKey.drawn(hospital))).bounds(job, request)


def pairs(job: JobSpec, patients: int) -> list[tuple[str, bool]]:
    """Return whose each pair of a test side is, and whether the target is in it."""
    names = [f"p{number:03d}" for number in range(patients)]
    rows = [
        Record(
            row=number,
            patient=name,
            images=(Path(f"{name}.png"),),
            label=None,
            mask=None,
            site=None,
            split="test",
            cells={"image": f"{name}.png"},
            folder=Path("/data"),
            looked_up={},
        )
        for number, name in enumerate(names)
    ]
    manifest = Manifest(Path("manifest.csv"), ("patient", "image"), rows, [])
    made = with_partners(manifest, [(row, "test") for row in rows], job.task.pairing(job.data), 5)
    return [(row.patient, "p007" in (row.patient, row.cells["moving"][:4])) for row, _ in made]


def told(job: JobSpec, made: list[tuple[str, bool]], secret: float, hospital: int) -> Mean:
    """Return the bounded loss, where half of the others have none and half have 1."""
    metrics, names = make_task(job).metrics(), [name for name, _ in made]
    values = [secret if is_his else float(int(name[1:]) % 2) for name, is_his in made]
    metrics.add("loss", names, torch.tensor(values, dtype=torch.float64)[:, None])
    for name, metric in metrics.metrics.items():
        if name != "loss":
            metrics.add(name, names, torch.zeros(len(names), metric.total.numel()))
    bound(metrics, bounds_of(job, hospital), job.evaluation.bins)
    return metrics.metrics["loss"]


@pytest.mark.parametrize("partners", [4, 20])
def test_no_value_is_read_out_of_the_pairs_of_one_patient(partners: int) -> None:
    """A made model gives every pair that the target is in so much that all these patients' means follow."""
    job, right = make_job(task_name="registration", task_partners=partners), 0
    made = pairs(job, 100)
    middle = (told_exactly(made, 0.0) + told_exactly(made, partners)) / 2
    for hospital in range(ASKED):
        is_high = hospital % 2
        total = float(told(job, made, partners * is_high, hospital).total[0])
        right += int((total > middle) == bool(is_high))
    assert right < LOOK * ASKED + CHANCE


def told_exactly(made: list[tuple[str, bool]], secret: float) -> float:
    """Return the sum of each patient's mean, cut to 0..1, times their pairs."""
    of_patient: dict[str, list[float]] = {}
    for name, is_his in made:
        of_patient.setdefault(name, []).append(secret if is_his else float(int(name[1:]) % 2))
    return sum(len(own) * min(1.0, float(np.mean(own))) for own in of_patient.values())


def test_too_few_patients_for_their_partners_tell_nothing() -> None:
    for partners, needed in ((1, 23), (4, 29), (30, 81)):
        job = make_job(task_name="registration", task_partners=partners)
        assert bounds_of(job, 1).needed == needed
        enough, few = (told(job, pairs(job, patients), 1.0, 1) for patients in (needed, needed - 1))
        assert enough.count[0] > 0
        assert few.count[0] == few.total[0] == 0
    assert bounds_of(make_job(task_name="registration", task_pairs="rows"), 1).needed == LEAST


def test_numbers_that_are_none_for_all_partners_of_one_patient_stop_no_sum() -> None:
    job = make_job(task_name="registration", task_partners=20)
    assert np.isfinite(float(told(job, pairs(job, 100), float("nan"), 1).total[0]))
