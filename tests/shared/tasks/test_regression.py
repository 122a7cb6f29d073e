"""Regression: what a job may say, metrics that add up over sites, what is told of a row."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from shared.batch import Batch
from shared.errors import JobError, WardroundError
from shared.job.schema import JobSpec
from shared.metrics.states import MetricSet
from shared.metrics.statistics import Numbers
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.base import Task
from tests.jobs import make_job

TWO = {"task_targets": ["age", "volume"]}
SCALING = {"age": [50.0, 20.0], "volume": [3000.0, 400.0]}
TABLE = {"task_image": False, "task_columns": ["grade"], "model": {"name": "mlp"}, "data": {}}


def job(**options: Any) -> JobSpec:
    return make_job(task_name="regression", **options)


def moments(values: Numbers) -> Numbers:
    return np.stack([np.full(values.shape[1], len(values)), values.sum(0), (values**2).sum(0)], axis=1)


def drawn(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is predicted in standard deviations, and true ages and volumes."""
    draw = np.random.default_rng(seed)
    true = draw.normal([50, 3000], [20, 400], (count, 2)).astype(np.float32)
    found = (true - [50, 3000]) / [20, 400] + draw.normal(0, 0.5, (count, 2))
    return torch.from_numpy(found).float(), torch.from_numpy(true)


def judged(task: Task, found: torch.Tensor, true: torch.Tensor, name: str) -> MetricSet:
    metrics = task.metrics()
    patients = [f"{name}-{number // 2}" for number in range(len(true))]  # two rows of each
    batch, predicted = Batch({"number": true}, patients), {"standard": found}
    task.update(metrics, predicted, batch, task.sample_losses({}, batch, predicted))
    return metrics


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_the_sum_of_the_sites_is_the_metric_of_the_pooled_rows(sizes: list[int], seed: int) -> None:
    task = make_task(job(**TWO, task_scaling=SCALING))
    sites = [drawn(size, seed + number) for number, size in enumerate(sizes)]
    merged = task.metrics()
    for number, (found, true) in enumerate(sites):
        own = judged(task, found, true, str(number))
        assert (np.abs(own.pack()) <= own.limits(len(true))).all()
        merged.merge(own.pack())
    found, true = (torch.cat(parts).double().numpy() for parts in zip(*sites, strict=True))
    values, said = merged.compute(), found * [20, 400] + [50, 3000]
    for place, name in enumerate(("age", "volume")):
        pair = true[:, place], said[:, place]
        assert values[f"mae/{name}"] == pytest.approx(mean_absolute_error(*pair), rel=1e-6)
        assert values[f"rmse/{name}"] == pytest.approx(root_mean_squared_error(*pair), rel=1e-6)
        if len(true) > 1:
            assert values[f"r2/{name}"] == pytest.approx(r2_score(*pair), abs=1e-6)
        of_mean = np.abs(true[:, place] - [50, 3000][place]).mean()
        assert values[f"relative_mae/{name}"] == pytest.approx(mean_absolute_error(*pair) / of_mean, rel=1e-6)
    assert np.isnan(values["mae"])  # years and cubic millimetres have no mean
    if len(true) > 1:
        assert values["r2"] == pytest.approx((values["r2/age"] + values["r2/volume"]) / 2)


def test_the_unit_of_a_target_changes_no_step() -> None:
    """The network predicts standard deviations, which the sums of all sites give."""
    true = np.array([[20.0], [50.0], [80.0]])
    losses = []
    for unit in (1.0, 12.0):  # years, months
        task = make_task(job(), {"targets": moments(true * unit)})
        model = models_of(build_model(task.job, seed=1))
        images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        batch = Batch({"image": images, "number": torch.from_numpy(true * unit).float()}, ["a", "b", "c"])
        losses.append(task.phases()[0].loss(model, batch))
    assert losses[0].shape == (3,)
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize(
    ("loss", "expected"), [("huber", [0.125, 1.5]), ("mse", [0.25, 4]), ("mae", [0.5, 2])]
)
def test_each_loss_is_of_the_errors_in_deviations(loss: str, expected: list[float]) -> None:
    task = make_task(job(task_scaling={"age": [50.0, 20.0]}, task_loss=loss))
    batch = Batch({"number": torch.tensor([[60.0], [50.0]])}, ["a", "b"])
    losses = task.sample_losses({}, batch, {"standard": torch.tensor([[0.0], [-2.0]])})
    assert losses.tolist() == pytest.approx(expected)


def test_a_row_that_lacks_a_number_teaches_and_is_judged_by_the_others() -> None:
    task = make_task(job(**TWO, task_scaling=SCALING, task_loss="mse"))
    nan = float("nan")
    true = torch.tensor([[70.0, nan], [nan, nan], [50.0, 3400.0]])
    found = torch.zeros(3, 2, requires_grad=True)
    batch = Batch({"number": true}, ["a", "b", "c"])
    losses = task.sample_losses({}, batch, {"standard": found})
    assert losses.tolist() == [1, 0, 0.5]
    losses.sum().backward()
    assert found.grad is not None
    assert found.grad.tolist() == [[-2, 0], [0, 0], [0, -1]]
    values = judged(task, torch.zeros(3, 2), true, "a").compute()
    assert values["mae/age"] == 10
    assert values["mae/volume"] == 400
    assert values["loss"] == 0.75
    assert [look.says for look in task.looks({"standard": torch.zeros(3, 2)}, batch)][:2] == [
        "age: true 70, the model 50",
        "",
    ]


def test_of_volumes_which_are_all_in_ml_there_is_a_mean() -> None:
    spec = job(**TWO, task_volume_of="mask", task_scaling=SCALING, evaluation={"select_best": "mae"})
    values = judged(make_task(spec), torch.zeros(1, 2), torch.tensor([[70.0, 3400.0]]), "a").compute()
    assert values["mae"] == values["rmse"] == 210


def test_a_row_is_told_in_the_unit_of_its_column() -> None:
    task = make_task(job(task_scaling={"age": [50.0, 20.0]}))
    batch, predicted = Batch({"number": torch.tensor([[60.0]])}, ["a"]), {"standard": torch.tensor([[0.25]])}
    [answer] = task.answers(batch, predicted) or []
    assert answer.cells == {"predicted/age": 55.0, "true/age": 60.0, "error/age": -5.0}
    [answer] = task.answers(Batch({}, ["a"]), predicted) or []
    assert answer.cells == {"predicted/age": 55.0}
    [look] = task.looks(predicted, batch)
    assert look.says == "age: true 60, the model 55"
    assert look.score == pytest.approx(-0.25)


def test_what_is_exported_takes_a_table_as_it_is_and_gives_own_units() -> None:
    task = make_task(job(**TABLE, task_scaling={"age": [50.0, 20.0], "grade": [2.0, 0.5]}))
    models = models_of(build_model(task.job, seed=1))
    batch = task.prepare(Batch({"record": torch.tensor([[3.0], [float("nan")]])}, ["a", "b"]), 0)
    answers = task.answers(batch, task.predict(models, batch)) or []
    program = task.program(models)
    assert program is not None
    found = program.module(torch.tensor([[3.0], [float("nan")]]))
    assert found[:, 0].tolist() == pytest.approx([one.cells["predicted/age"] for one in answers], abs=1e-4)


def test_a_scale_that_is_not_the_columns_is_logged_and_no_error_that_leaves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The attack: bisection by the scale, with the error as the answer, told the oldest patient's age."""
    told = []
    for deviation in (0.01, 0.04):  # for 60 and 50 years: beyond 1024 deviations, and hardly
        task = make_task(job(task_scaling={"age": [20.0, deviation]}))
        metrics = judged(task, torch.zeros(2, 1), torch.tensor([[60.0], [50.0]]), "a")
        told.append(metrics.report()["mae"] / deviation)
    assert told == pytest.approx([1024, (1000 + 750) / 2])
    assert caplog.text.count("[task] scaling: a target is more than 1024") == 1


def test_the_means_of_the_training_are_what_it_is_beside() -> None:
    task = make_task(job(task_scaling={"age": [50.0, 20.0]}))
    sites = {}
    for name, ages in (("young", [20.0, 30.0]), ("old", [70.0, 80.0])):
        true = torch.tensor(ages)[:, None]
        metrics = judged(task, torch.zeros(2, 1), true, name)
        sites[name] = {**metrics.patient_tables(), "train": true}
    rivals = task.metrics().rivals(sites).values
    assert rivals["constant"]["mae"] == pytest.approx(25)
    assert rivals["constant"]["r2"] == pytest.approx(0)
    assert rivals["site"]["mae"] == pytest.approx(5)


def test_true_and_predicted_numbers_make_a_figure() -> None:
    task = make_task(job(task_scaling={"age": [50.0, 20.0]}))
    metrics = judged(task, torch.tensor([[-2.0], [0.1], [2.0]]), torch.tensor([[10.0], [51.0], [30.0]]), "a")
    [figure] = metrics.figures()
    assert sum(int(point[2] or 0) for point in figure.points) == 3
    assert ("to 20", "to 20", 1) in figure.points
    assert ("20 to 35", "above 80", 1) in figure.points
    assert list(task.metrics().figures()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_targets": ["age", "age"]}, "targets: a name appears twice"),
        ({"task_columns": ["age"]}, "columns: 'age' is what is to be predicted"),
        ({"task_image": False}, "the network sees nothing"),
        ({"task_scaling": {"volume": [1.0, 1.0]}}, "scaling: 'age' is missing"),
        ({**TWO, "evaluation": {"select_best": "mae"}}, "'mae' of 2 targets has no one unit"),
        ({"task_columns": ["grade"]}, r"\[model\]: 'regression' has 3 networks"),
        (
            {"privacy_mechanism": "dp-sgd", "privacy_epsilon": 5.0},
            r"'dp-sgd' does not protect .* mean and spread.*give \[task\] scaling",
        ),
    ],
)
def test_what_a_regression_can_not_say(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        job(**options)


def test_a_prediction_is_explained_by_one_of_its_numbers() -> None:
    task = make_task(job(**TWO, task_scaling=SCALING))
    models = models_of(build_model(task.job, seed=1))
    batch = Batch({"image": torch.randn(2, 1, 16, 16)}, ["a", "b"])
    predicted = task.predict(models, batch)
    for place, name in ((0, None), (1, "volume")):
        explained = task.explained(predicted, name)
        assert [one.says for one in explained] == [f"what speaks for a large {name or 'age'}"] * 2
        torch.testing.assert_close(explained[0].score(models, batch), predicted["standard"][:, place])
    with pytest.raises(WardroundError, match="there is no target 'ages'"):
        task.explained(predicted, "ages")
    assert make_task(job(**TABLE)).explained({"standard": torch.zeros(2, 1)}) == []
