"""Sums of values that compare each patient with the others: one patient moves all of them at once."""

import copy

import numpy as np
import pytest
import torch

from client.data.manifest.splits import CohortKey
from client.guard.bounded_sums import bound
from client.guard.bounds import Bounds
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.metrics.states import MetricSet
from shared.tasks import make_task
from tests.jobs import make_job

LEAST, ASKED = 10, 100
CHANCE = 2.6 * (ASKED / 4) ** 0.5  # 99 % of guessing
LOOK = 0.56  # what one look at a patient is right in, as docs/metrics.md has it
LOSSES = pytest.mark.parametrize("loss", ["cox", "hazard"])


def job_of(loss: str) -> JobSpec:
    scaling = {"age": [0.0, 1.0], "marker": [0.0, 1.0]}
    task = {"name": "survival", "columns": list(scaling), "loss": loss, "scaling": scaling}
    return make_job(task_name="survival", **({"task": task} if loss == "cox" else {}))


def survival(job: JobSpec, risks: torch.Tensor, hospital: int) -> MetricSet:
    """Return the metrics of patients with these risks (P,), of whom the first is at risk longest."""
    times, observed = events_of(hospital, len(risks))
    task, metrics = make_task(job), make_task(job).metrics()
    logits = risks.float()[:, None].expand(-1, 1 if job.task.loss == "cox" else 3)
    batch = Batch(
        {"event": torch.stack([times, observed], dim=1).float()}, [f"p{n:03d}" for n in range(len(risks))]
    )
    task.update(metrics, {"logits": logits}, batch, torch.zeros(len(risks)))
    return metrics


def events_of(hospital: int, patients: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(hospital)
    times, observed = draw.uniform(1, 50, patients), (draw.uniform(size=patients) < 0.6).astype(float)
    times[0], observed[0] = 55.0, 0.0
    return torch.from_numpy(times), torch.from_numpy(observed)


def bounded(metrics: MetricSet, hospital: int = 0, least: int = LEAST) -> MetricSet:
    found = copy.deepcopy(metrics)
    bound(found, Bounds(least, CohortKey.drawn(hospital).seed), metrics.job.evaluation.bins)
    return found


def test_no_column_is_read_out_of_cox_s_loss() -> None:
    """A made model gives all others no risk: the loss of each is then that of who is at risk longest."""
    job = job_of("cox")
    for value in (0.2, 0.8):
        risks = torch.zeros(60)
        risks[0] = 500 * value
        metrics = survival(job, risks, hospital=1)
        assert metrics.report()["loss"] == pytest.approx(500 * value, rel=0.1)
        found = bounded(metrics)
        assert found.metrics["loss"].total == found.metrics["loss"].count == 0
        assert np.isnan(found.report()["loss"])
        assert found.metrics["concordance"].total[0] > 0
        assert bounded(metrics, least=1).report()["loss"] == metrics.report()["loss"]


@pytest.mark.parametrize(
    ("loss", "patients", "wrong"),
    [
        pytest.param("cox", 100, True, id="others in the wrong order"),
        pytest.param("hazard", 40, True, id="intervals"),
        pytest.param("cox", 40, False, id="others alike"),
    ],
)
def test_no_risk_is_read_out_of_concordance(loss: str, patients: int, wrong: bool) -> None:
    """A coordinator who knows all others, and their order, asks which of two risks the first one has."""
    job, right = job_of(loss), 0
    for hospital in range(ASKED):
        figures = []
        for high in (0, 1):
            risks = (events_of(hospital, patients)[0] - 30) / 8 * wrong
            risks[0] = 20.0 if high else -20.0
            figures.append(survival(job, risks, hospital))
        exact = [metrics.report()["concordance"] for metrics in figures]
        is_high = hospital % 2
        told = bounded(figures[is_high], hospital).report()["concordance"]
        right += int((abs(told - exact[1]) < abs(told - exact[0])) == bool(is_high))
    assert right < LOOK * ASKED + CHANCE


@LOSSES
def test_concordance_is_of_use_at_some_hundred_patients(loss: str) -> None:
    off, job = [], job_of(loss)
    for hospital in range(20):
        order = -events_of(hospital, 400)[0] / 20
        risks = order + torch.from_numpy(np.random.default_rng(hospital + 100).normal(size=400))
        metrics = survival(job, risks, hospital)
        off.append(bounded(metrics, hospital).report()["concordance"] - metrics.report()["concordance"])
    assert np.abs(off).mean() < 0.06
    assert abs(np.mean(off)) < 0.04  # to neither side


def test_a_hospital_of_too_few_patients_tells_no_pairs() -> None:
    found = bounded(survival(job_of("cox"), torch.zeros(LEAST - 1), hospital=1)).metrics["concordance"]
    assert found.total.tolist() == found.count.tolist() == [0, 0]
