"""Classification from a record, alone or beside an image that a row may lack."""

from typing import Any

import numpy as np
import pytest
import torch

from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from tests.jobs import make_job

NAN = float("nan")
RECORD: dict[str, Any] = {
    "task_columns": ["age", "sex"],
    "task_categories": {"sex": ["f", "m"]},
    "task_scaling": {"age": [60.0, 10.0]},
}
BOTH: dict[str, Any] = {
    **RECORD,
    "task_features": 8,
    "task_missing_images": True,
    "model": {
        "image": {"name": "cnn", "channels": [4], "norm": "group"},
        "record": {"name": "mlp", "hidden": [3]},
        "fusion": {"name": "film", "hidden": [4]},
    },
}
ALONE: dict[str, Any] = {**RECORD, "task_image": False, "model": {"name": "mlp"}, "data": {}}


def job(**options: Any) -> JobSpec:
    return make_job(task_name="classification", **options)


def rows() -> Batch:
    """Return somebody with both, somebody without an image, somebody without a record."""
    image = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    image[1] = NAN
    record = torch.tensor([[70.0, 1.0, 0.0], [NAN, 0.0, 1.0], [NAN, NAN, NAN]])
    return Batch({"image": image, "record": record, "label": torch.tensor([0, 1, 1])}, ["a", "b", "c"])


def test_what_a_row_lacks_is_told_to_the_network() -> None:
    task = make_task(job(**BOTH))
    batch = task.prepare(rows(), 0)
    assert batch["lacking"].tolist() == [[0, 0], [1, 0], [0, 1]]
    assert batch["record"].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert not batch["image"].isnan().any()
    models = models_of(build_model(task.job, seed=1))
    [phase] = task.phases()
    losses = phase.loss(models, batch)
    assert losses.isfinite().all()
    losses.sum().backward()
    assert all(one.grad is not None for network in models.values() for one in network.parameters())


@pytest.mark.parametrize("options", [BOTH, ALONE], ids=["both", "record"])
def test_what_is_exported_takes_rows_as_they_are(options: dict[str, Any]) -> None:
    task, batch = make_task(job(**options)), rows()
    models = models_of(build_model(task.job, seed=1))
    predicted = task.predict(models, task.prepare(batch, 0))["logits"]
    program = task.program(models)
    assert program is not None
    program.module.eval()
    found = program.module(*(batch[name] for name in program.inputs))
    torch.testing.assert_close(found, predicted)
    assert program.facts["classes"] == ["small", "large"]
    assert program.facts["columns"] == ["age", "sex=f", "sex=m"]


def test_columns_are_scaled_by_all_sites_beside_counts_of_the_classes() -> None:
    options = {**ALONE, "task_scaling": None, "task_class_weights": "federation"}
    task = make_task(job(**options))
    assert [spec.name for spec in task.job.task.statistics()] == ["class_counts", "columns"]
    known = {"columns": np.array([[4.0, 240.0, 14800.0]]), "class_counts": np.array([3.0, 1.0])}
    batch = task.knowing(known).prepare(rows(), 0)
    assert batch["record"][0].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_missing_images": True}, "missing_images: needs image = true and columns"),
        ({"task_columns": ["label"]}, "columns: 'label' is what is to be predicted"),
        ({**RECORD}, r"\[model\]: 'classification' has 3 networks; .* \[model.fusion\]"),
        ({**ALONE, "data": {"size": [16, 16]}}, r"\[data\] size: is about images"),
        (
            {**ALONE, "model": {"name": "cnn"}},
            "'cnn' is not for classification of a table; one of: mlp",
        ),
        ({**BOTH, "model": {**BOTH["model"], "fusion": {"name": "mlp"}}}, "'mlp' is not for .* of features"),
        ({**ALONE, "task_indicators": True, "task_columns": ["sex"], "task_scaling": None}, "there is none"),
    ],
)
def test_what_a_job_with_a_record_can_not_say(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        job(**options)


def test_a_job_of_images_alone_has_the_digest_that_it_had() -> None:
    assert not {"columns", "image", "features", "fusion"} & job().model_dump(mode="json")["task"].keys()
