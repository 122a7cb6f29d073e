"""Post-processing of maps: the largest part, small parts; in evaluation as in prediction."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.tasks import make_task
from shared.tasks.segmentation.options import Segmentation
from shared.tasks.segmentation.postprocess import removed_from
from tests.jobs import make_job

MAP = np.array(
    [
        [1, 1, 0, 0, 2, 0],
        [1, 0, 0, 0, 0, 2],
        [0, 0, 0, 0, 0, 0],
        [0, 1, 0, 2, 0, 0],
    ]
)


class Fixed(nn.Module):
    """Gives one map, whatever it sees."""

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.nn.functional.one_hot(torch.from_numpy(MAP), 3).movedim(-1, 0).float()
        return 4 * logits.expand(len(images), -1, -1, -1)


def predicted(**keys: Any) -> Tensor:
    options = {f"task_{key}": value for key, value in keys.items()}
    task = make_task(make_job(task_classes=["a", "b"], **options))
    batch = Batch({"image": torch.zeros(1, 1, *MAP.shape)}, ["ann"])
    return task.predict({"model": Fixed()}, batch)["logits"]


@pytest.mark.parametrize(
    ("keys", "gone"),
    [
        ({"keep_largest": ["a"]}, [(3, 1)]),
        ({"keep_largest": ["b"]}, [(3, 3)]),  # pixels that touch at a corner are one part
        ({"least_size": {"a": 4}}, [(0, 0), (0, 1), (1, 0), (3, 1)]),
        ({"least_size": {"a": 2, "b": 2}}, [(3, 1), (3, 3)]),
        ({"keep_largest": ["a"], "least_size": {"a": 4}}, [(0, 0), (0, 1), (1, 0), (3, 1)]),
    ],
)
def test_parts_go_and_the_background_takes_their_place(keys: dict[str, Any], gone: list[Any]) -> None:
    logits, plain = predicted(**keys), predicted()
    expected = MAP.copy()
    for place in gone:
        expected[place] = 0
    assert torch.equal(logits.argmax(1)[0], torch.from_numpy(expected))
    torch.testing.assert_close(logits.sort(1).values, plain.sort(1).values)


def test_a_volume_has_parts_too() -> None:
    labels = np.zeros((4, 4, 4), np.int64)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[3, 3, 3] = 1
    removed = removed_from(labels, Segmentation(name="segmentation", classes=["a"], keep_largest=["a"]))
    assert np.argwhere(removed).tolist() == [[3, 3, 3]]


def test_what_is_judged_is_what_is_predicted() -> None:
    job = make_job(task_classes=["a", "b"], task_keep_largest=["a", "b"])
    task = make_task(job)
    mask = torch.from_numpy(np.where(np.arange(4)[:, None] < 2, MAP, 0)).byte()
    batch = Batch({"image": torch.zeros(1, 1, *MAP.shape), "mask": mask[None]}, ["ann"])
    found = task.predict({"model": Fixed()}, batch)
    metrics = task.metrics()
    metrics.update(found, batch, task.sample_losses({"model": Fixed()}, batch, found))
    assert metrics.report()["dice_global"] == 1
    [answer] = task.answers(batch, found)
    assert answer.cells["false_positives/a"] == answer.cells["false_positives/b"] == 0
    program = task.program({"model": Fixed()})
    assert program is not None
    assert program.facts["keep_largest"] == ["a", "b"]  # which the exported network itself does not do


def test_a_structure_that_is_none_is_refused() -> None:
    with pytest.raises(JobError, match=r"keep_largest: 'tumor' is not a class; did you mean 'tumour'"):
        make_job(task_classes=["tumour"], task_keep_largest=["tumor"])
