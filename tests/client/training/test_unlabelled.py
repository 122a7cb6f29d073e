"""Training on samples of which some have no label: the teacher, private norms, which samples a step takes."""

from collections import Counter
from typing import Any

import pytest
import torch

from client.data.samples.batches import Samples
from client.training.class_balance import ClassGroups
from client.training.sample_order import SampleOrder
from client.training.teacher import Teacher
from shared.networks.build import build_model, models_of
from shared.networks.frozen_parts import trainable
from shared.tasks import make_task
from shared.tasks.base import TEACHER
from shared.tasks.fields import UNKNOWN_LABEL
from tests.client.training.test_private_training import private_job, samples_for, train, weights
from tests.jobs import make_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")


def test_a_teacher_begins_as_the_global_model_and_follows_its_steps() -> None:
    job = make_job(task_name="classification", task_unlabelled={"method": "mean-teacher", "decay": 0.75})
    model = build_model(job, seed=1)
    teacher = Teacher.of(make_task(job), models_of(model))
    assert teacher is not None
    copy = teacher.networks[TEACHER + "model"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    teacher.begin()
    begun = weights(copy).clone()
    assert torch.equal(begun, weights(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(4.0)
    teacher.follow()
    torch.testing.assert_close(weights(copy), begun + 1.0)
    assert not trainable(copy)


def test_without_a_teacher_nothing_is_copied() -> None:
    job = make_job(task_name="classification", task_unlabelled={"method": "leave-out"})
    assert Teacher.of(make_task(job), models_of(build_model(job))) is None


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("method", ["fixmatch", "mean-teacher"])
@pytest.mark.parametrize("bound", [0.05, 100.0])
def test_a_private_step_has_the_clipped_gradient_of_each_patient(
    tiny_job: Any, task: str, method: str, bound: float
) -> None:
    """One patient with a label and one without; what each gives alone is clipped alone, and added."""
    job = private_job(
        tiny_job,
        task,
        task_unlabelled={"method": method, "ramp_rounds": 0}
        | ({"threshold": 0.1} if method == "fixmatch" else {}),
        privacy_max_grad_norm=bound,
    )
    samples = samples_for(job, ["ann", "ben"])
    target = "label" if task == "classification" else "mask"
    samples.columns[target][1] = UNKNOWN_LABEL if task == "classification" else 255
    together = train(job, samples)
    each = []
    for index in range(2):
        columns = {name: values[index : index + 1] for name, values in samples.columns.items()}
        own = [samples.patients[index]]
        alone = Samples(job, columns, patients=own, keys=[samples.keys[index]], spacings=[None])
        each.append(train(job, alone))
    assert all(0 < float(one.norm()) <= bound * 1.001 for one in each)
    torch.testing.assert_close(together, (each[0] + each[1]) / 2, rtol=1e-3, atol=1e-5)


def test_half_of_a_pass_has_no_label_and_each_image_comes_before_one_comes_twice() -> None:
    job = make_job(task_name="classification", task_unlabelled={"method": "fixmatch"}, training_batch_size=4)
    targets = torch.tensor([0, 1, 1] + [UNKNOWN_LABEL] * 13)
    groups = ClassGroups.of(job, targets, [str(number // 2) for number in range(16)])
    order = SampleOrder.public(job, 16, "a", classes=groups)
    taken = Counter(index for batch in order.batches(1) for index in batch)
    assert sum(count for index, count in taken.items() if index < 3) == 8
    assert max(taken[index] for index in range(3, 16)) == 1
    assert {taken[index] for index in range(3)} == {2, 3}
    balanced = make_job(
        task_name="classification", task_unlabelled={"method": "fixmatch"}, training_sampling="class-balanced"
    )
    by_class = ClassGroups.of(balanced, targets, [str(number) for number in range(16)])
    assert by_class is not None
    assert [sum(map(len, images)) for images in by_class.images] == [1, 2, 13, 13]


def test_where_all_or_none_are_labelled_a_pass_is_as_ever() -> None:
    job = make_job(task_name="classification", task_unlabelled={"method": "fixmatch"})
    assert ClassGroups.of(job, torch.tensor([0, 1, 1]), ["a", "b", "c"]) is None
    assert ClassGroups.of(job, torch.tensor([UNKNOWN_LABEL] * 3), ["a", "b", "c"]) is None
