"""Metrics of a test whose patients count as often as a bootstrap draws them."""

from typing import Any

import numpy as np
import pytest
import torch

from shared.batch import Batch, Prediction
from shared.metrics.bootstrap import Bootstrap
from shared.metrics.replicates import Tables
from shared.metrics.states import MetricSet
from shared.tasks import make_task
from shared.tasks.base import Task
from simulate.session.judging import compare
from tests.jobs import make_job


def tables_of(task: Task, predicted: Prediction, **fields: Any) -> Tables:
    """Return the tables of a test in which each patient has one sample."""
    metrics, number = task.metrics(task.fine_edges()), len(next(iter(fields.values())))
    batch = Batch(fields, [f"p{i:03d}" for i in range(number)], keys=[str(i) for i in range(number)])
    task.update(metrics, predicted, batch, torch.zeros(number))
    metrics.settle()
    return metrics.patient_tables()


def draws_of(patients: int, seed: int = 0) -> np.ndarray:
    """Return how often each patient counts: once, and as three draws have it."""
    rng = np.random.default_rng(seed)
    return np.vstack([np.ones((1, patients), int), rng.multinomial(patients, [1 / patients] * patients, 3)])


def scored(patients: int, seed: int) -> tuple[Prediction, torch.Tensor]:
    """Return logits of two classes and labels that they tell a little of."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (patients,), generator=generator)
    logits = torch.randn(patients, 2, generator=generator)
    logits[:, 1] += labels
    return {"logits": logits}, labels


def test_a_draw_gives_what_a_test_with_these_patients_would():
    job = make_job(
        task_name="classification", evaluation={"select_best": "auroc", "metrics": [{"name": "brier"}]}
    )
    task = make_task(job)
    sites = [scored(12, 1), scored(9, 2)]
    tables = [tables_of(task, logits, label=labels) for logits, labels in sites]
    draws = draws_of(21)
    metrics = task.metrics(task.fine_edges())
    figures = metrics.resampled(tables, draws)
    for number, draw in enumerate(draws):
        own = task.metrics(task.fine_edges())
        chosen = torch.from_numpy(np.repeat(np.arange(21), draw))
        logits = torch.cat([site[0]["logits"] for site in sites])[chosen]
        batch = Batch({"label": torch.cat([site[1] for site in sites])[chosen]}, list(map(str, range(21))))
        task.update(own, {"logits": logits}, batch, torch.zeros(21))
        expected = own.compute()
        for name in ("accuracy", "balanced_accuracy", "f1", "brier"):
            assert figures[name][number] == pytest.approx(expected[name], abs=1e-9), name
        assert figures["auroc"][number] == pytest.approx(expected["auroc"], abs=0.02)


def test_counts_that_a_metric_set_recounts_are_known_by_patient():
    """As a package's metrics are, which say no more than `cells` and `recount`."""
    task = make_task(make_job(task_name="classification"))
    tables = MetricSet.patient_tables
    metrics, (logits, labels) = task.metrics(), scored(12, 1)
    batch = Batch({"label": labels}, [f"p{i // 2}" for i in range(12)])  # two images of each patient
    task.update(metrics, logits, batch, torch.zeros(12))
    before = metrics.pack()
    found = [tables(metrics)]
    assert metrics.pack().tolist() == before.tolist()
    figures = MetricSet.resampled(task.metrics(), found, draws_of(6))
    assert figures["accuracy"][0] == pytest.approx(metrics.compute()["accuracy"])
    assert len(set(figures["accuracy"])) > 1
    assert "calibration_error" not in figures  # whose bins know no patients


SURVIVAL: dict[str, Any] = {"task_name": "survival", "task_intervals": [1.0, 2.0, 4.0]}


def followed(patients: int, outputs: int, seed: int) -> tuple[Prediction, torch.Tensor]:
    """Return logits and events, with ties of time and of risk."""
    rng = np.random.default_rng(seed)
    times, observed = rng.integers(1, 8, patients) / 2, rng.random(patients) < 0.6
    logits = torch.from_numpy(np.round(rng.normal(size=(patients, outputs)), 1)).float()
    return {"logits": logits}, torch.from_numpy(np.stack([times, observed], axis=1)).float()


@pytest.mark.parametrize(
    "options", [SURVIVAL, {**SURVIVAL, "task_loss": "cox", "task_intervals": None}], ids=["hazard", "cox"]
)
def test_pairs_of_a_draw_are_those_within_sites(options):
    task = make_task(make_job(**options))
    outputs = task.job.task.outputs
    sites = [followed(14, outputs, 1), followed(9, outputs, 2)]
    tables = [tables_of(task, logits, event=event) for logits, event in sites]
    draws = draws_of(23)
    figures = task.metrics().resampled(tables, draws)
    for number, draw in enumerate(draws):
        merged = task.metrics()
        for (logits, event), own in zip(sites, np.split(draw, [14]), strict=True):
            chosen = torch.from_numpy(np.repeat(np.arange(len(own)), own))
            part, names = task.metrics(), [f"p{i}" for i in range(len(chosen))]
            batch = Batch({"event": event[chosen]}, names)
            task.update(part, {"logits": logits["logits"][chosen]}, batch, torch.zeros(len(chosen)))
            merged.merge(part.pack())
        expected = merged.compute()
        for name in {"concordance", "integrated_brier"} & set(expected):
            assert figures[name][number] == pytest.approx(expected[name], abs=1e-9)


def test_one_curve_for_all_is_what_a_survival_is_beside():
    """The curve of Kaplan and Meier, of the training of all sites and of each: another at either site."""
    task = make_task(make_job(**SURVIVAL))
    early = torch.tensor([[0.5, 1.0]] * 6)  # all die before the first edge
    late = torch.tensor([[9.0, 0.0]] * 6)  # all outlive the last
    sites = {
        name: {**tables_of(task, {"logits": torch.zeros(6, 3)}, event=event), "train": event.repeat(3, 1)}
        for name, event in (("a", early), ("b", late))
    }
    rivals = task.metrics().rivals(sites).values
    assert rivals["constant"]["integrated_brier"] == pytest.approx(0.25)  # half survive
    assert rivals["site"]["integrated_brier"] == pytest.approx(0.0)
    assert rivals["constant"]["concordance"] == rivals["site"]["concordance"] == 0.5
    assert set(task.metrics().rivals({"a": sites["a"]}).values) == {"constant"}


def test_boxes_of_a_draw_are_those_of_the_images_that_count():
    task = make_task(make_job(task_name="detection"))
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 16, size=(12, 4, 2, 2)), axis=2).reshape(12, 4, 4)
    boxes = torch.from_numpy(corners).float()
    predicted = {
        "boxes": boxes,
        "scores": torch.from_numpy(rng.normal(size=(12, 4))).float(),
        "classes": torch.zeros(12, 4, dtype=torch.int64),
    }
    truth = [torch.cat([own[: 1 + i % 3], torch.zeros(1 + i % 3, 1)], dim=1) for i, own in enumerate(boxes)]
    draws = draws_of(12)
    figures = task.metrics().resampled([tables_of(task, predicted, boxes=truth)], draws)
    for number, draw in enumerate(draws):
        chosen = np.repeat(np.arange(12), draw)
        own = task.metrics()
        batch = Batch({"boxes": [truth[i] for i in chosen]}, list(map(str, range(12))))
        task.update(own, {name: values[chosen] for name, values in predicted.items()}, batch, torch.zeros(12))
        expected = own.compute()
        for name in ("ap30", "ap50", "sensitivity_1fp"):
            assert figures[name][number] == pytest.approx(expected[name], abs=1e-9)
    assert len(set(figures["ap30"])) > 1


def test_the_distances_of_draws_of_images_lie_above_that_of_all():
    """That is why a Fréchet distance has no interval."""
    task = make_task(make_job(task_name="generation"))
    features = {f"{kind}_features": torch.rand(80, 16) for kind in ("real", "drawn")}
    draws = np.vstack([draws_of(80, seed) for seed in range(5)])
    found = task.metrics().resampled([tables_of(task, features, image=torch.zeros(80, 1))], draws)["frechet"]
    assert found[1:4].min() > found[0]
    assert "frechet" in task.metrics().no_interval


def test_an_error_has_the_interval_of_a_mean_over_patients():
    task = make_task(make_job(task_name="regression", task_scaling={"age": [60.0, 10.0]}))
    error = torch.from_numpy(np.random.default_rng(1).lognormal(0, 1, 24))
    true = torch.linspace(40, 80, 24, dtype=torch.float64)[:, None]
    found = {"standard": (true + error[:, None] - 60) / 10}
    tables = tables_of(task, found, number=true)
    said = compare(task, {"north": tables})
    parts = np.stack([error.numpy(), np.ones(24)], axis=1)
    expected = Bootstrap(24, 1000, task.job.job.seed).interval_of_mean(float(error.mean()), parts)
    own = said["metrics"]["mae"]
    assert (own["low"], own["high"]) == pytest.approx(expected, rel=1e-6)
    assert said["sites"]["north"]["metrics"]["mae"]["value"] == pytest.approx(float(error.mean()))
