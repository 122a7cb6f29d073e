"""A class and numbers from one network: what is minimised, what is judged, what is answered."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, huber_loss

from client.training.clipping import PerSampleSum, clip_factors
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from tests.jobs import make_job

SCALING = {"age": [60.0, 12.0], "size": [5.0, 2.0]}


def job(**options: Any) -> JobSpec:
    numbers = {"task_number_targets": ["age", "size"], "task_number_scaling": SCALING}
    tables = {"task_name": "classification", "model": {"name": "cnn", "channels": [4]}}
    return make_job(**{**tables, **numbers, **options})


def batch_of(count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    means, deviations = torch.tensor([60.0, 5.0]), torch.tensor([12.0, 2.0])
    number = means + deviations * torch.randn(count, 2, generator=generator)
    number[0, 1] = torch.nan  # a row may lack one
    images = torch.rand(count, 1, 16, 16, generator=generator)
    values = {"image": images, "label": torch.arange(count) % 2, "number": number}
    return Batch(values, [f"p{n // 2}" for n in range(count)])


def test_the_loss_is_that_of_the_class_and_of_the_numbers_that_are_known() -> None:
    task, batch = make_task(job(task_number_weight=2.0)), batch_of(4)
    models = models_of(build_model(task.job))
    predicted = task.predict(models, batch)
    assert predicted["logits"].shape == predicted["standard"].shape == (4, 2)
    found = task.sample_losses(models, batch, predicted)
    standard = (batch["number"] - torch.tensor([60.0, 5.0])) / torch.tensor([12.0, 2.0])
    for number in range(4):
        known = ~standard[number].isnan()
        of_class = cross_entropy(predicted["logits"][number], batch["label"][number])
        of_numbers = huber_loss(predicted["standard"][number][known], standard[number][known])
        assert float(found[number]) == pytest.approx(float(of_class + 2 * of_numbers), rel=1e-5)
    [phase] = task.phases()
    for own in models.values():
        own.eval()
    torch.testing.assert_close(phase.loss(models, batch).detach(), found, rtol=1e-5, atol=1e-6)


def test_merged_is_pooled_and_what_plain_formulas_say() -> None:
    spec, batch = job(), batch_of(12)
    task = make_task(spec)
    models = models_of(build_model(spec))
    sites = []
    for part in ([*range(12)], [*range(4)], [*range(4, 12)]):
        own, metrics = batch.chosen(part), task.metrics()
        predicted = task.predict(models, own)
        task.update(metrics, predicted, own, task.sample_losses(models, own, predicted))
        sites.append(metrics)
    merged = task.metrics()
    for own in sites[1:]:
        merged.merge(own.pack())
    pooled = sites[0].compute()
    assert merged.compute() == pytest.approx(pooled, abs=1e-6, nan_ok=True)
    answers = task.answers(batch, task.predict(models, batch))
    ages = np.array([answer.cells["predicted/age"] for answer in answers])
    true = batch["number"][:, 0].numpy().astype(float)
    assert pooled["mae/age"] == pytest.approx(np.abs(ages - true).mean(), rel=1e-4)
    assert pooled["r2/age"] == pytest.approx(1 - ((ages - true) ** 2).mean() / true.var(), rel=1e-4)
    assert 0 <= pooled["accuracy"] <= 1
    assert math.isnan(pooled["mae"])  # two units have no mean
    drawn = task.metrics().resampled([sites[0].patient_tables()], np.ones((2, 6), np.int64))
    assert drawn["r2/age"] == pytest.approx([pooled["r2/age"]] * 2, rel=1e-6)


def test_an_answer_says_class_and_numbers_and_a_program_gives_both() -> None:
    task, batch = make_task(job()), batch_of(3)
    models = models_of(build_model(task.job).eval())
    predicted = task.predict(models, batch)
    first = task.answers(batch, predicted)[0].cells
    assert first["predicted"] in ("small", "large")
    assert first["error/age"] == pytest.approx(first["predicted/age"] - first["true/age"])
    assert "true/size" not in first
    program = task.program(models)
    assert program is not None
    found = program.module(batch["image"])
    torch.testing.assert_close(found[:, :2], predicted["logits"])
    assert float(found[0, 2]) == pytest.approx(first["predicted/age"], rel=1e-4)


def test_a_record_and_an_image_predict_both() -> None:
    tables = {"image": {"name": "cnn", "channels": [4]}, "record": {"name": "mlp", "hidden": [4]}}
    columns = {"task_columns": ["marker"], "task_scaling": {"marker": [0.0, 1.0]}}
    spec = job(model={**tables, "fusion": {"name": "concat"}}, **columns)
    task, batch = make_task(spec), batch_of(3).plus(record=torch.randn(3, 1))
    predicted = task.predict(models_of(build_model(spec)), task.prepare(batch, 0))
    assert predicted["logits"].shape == predicted["standard"].shape == (3, 2)


def test_each_patient_is_clipped_by_their_own_gradient() -> None:
    privacy = {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5}
    spec = job(privacy=privacy, strategy_weight="equal")
    task, network, batch = make_task(spec), build_model(spec), batch_of(3)
    models, parameters = models_of(network), list(network.parameters())
    losses = task.phases()[0].loss
    alone = [torch.autograd.grad(own, parameters, retain_graph=True) for own in losses(models, batch)]
    norms = torch.stack([torch.cat([own.flatten() for own in found]).norm() for found in alone])
    most = float(norms.mean())
    clipped = PerSampleSum(network, lambda some: losses(models, some), most, task.targets)
    clipped.add(batch, torch.arange(3))
    factors = clip_factors(norms, most)
    for total, *own in zip(clipped.take(), *alone, strict=True):
        expected = torch.stack([factor * part for factor, part in zip(factors, own, strict=True)]).sum(0)
        torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-4)
    clipped.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_number_scaling": {"age": [60.0, 12.0]}}, "needs every one of number_targets"),
        ({"task_number_scaling": {**SCALING, "size": [5.0, 0.0]}}, "must be above 0"),
        ({"task_mixup": 0.2}, "not with mixup"),
        (
            {"task_number_scaling": None, "privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0},
            "number_scaling",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        job(**{"strategy_weight": "equal", **options})
