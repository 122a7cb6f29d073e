"""Sampling by class: every class as often as the others, patients in turns; refused where it can't be had."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.training.class_balance import ClassGroups
from client.training.sample_order import SampleOrder
from shared.errors import JobError
from shared.job.schema import JobSpec
from tests.jobs import make_job


def job_of(**options: Any) -> JobSpec:
    return make_job(**{"task_name": "classification", "training_sampling": "class-balanced"} | options)


def order_of(job: JobSpec, labels: list[int], patients: list[str]) -> SampleOrder:
    classes = ClassGroups.of(job, torch.tensor(labels), patients)
    return SampleOrder.public(job, len(labels), "a", classes=classes)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("stuvw")), min_size=2, max_size=60))
def test_a_pass_takes_every_class_as_often_and_patients_in_turns(rows: list[tuple[int, str]]) -> None:
    labels, patients = [label for label, _ in rows], [patient for _, patient in rows]
    order = order_of(job_of(training_local_epochs=2), labels, patients)
    shuffled = job_of(training_sampling="shuffled", training_local_epochs=2)
    assert order.steps == SampleOrder.public(shuffled, len(rows), "a").steps
    taken = [index for batch in order.batches(1) for index in batch]
    assert len(taken) == 2 * len(rows)
    one_pass = taken[: len(rows)]
    of_class = Counter(labels[index] for index in one_pass)
    present = {label: of_class[label] for label in set(labels)}
    assert max(present.values()) - min(present.values()) <= 1
    for label, count in present.items():
        owners = {patient for own, patient in rows if own == label}
        turns = Counter(patients[index] for index in one_pass if labels[index] == label)
        assert max(turns.values()) - min(turns[owner] for owner in owners) <= 1
        assert sum(turns.values()) == count


def test_the_order_is_seeded_and_differs_from_round_to_round() -> None:
    labels, patients = [0] * 20 + [1] * 4, [str(number) for number in range(24)]
    order = order_of(job_of(), labels, patients)
    assert list(order.batches(1)) == list(order.batches(1)) != list(order.batches(2))


def test_an_order_without_classes_is_no_order_by_class() -> None:
    with pytest.raises(ValueError, match="needs the class of each image"):
        SampleOrder.public(job_of(), 4, "a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_name": "segmentation"}, "is for one label per image, and segmentation has none"),
        ({"task_multi_label": True}, "is for one label per image"),
        ({"task_class_weights": "site"}, "would do so again; take one of them"),
        ({"task_loss": "balanced-softmax"}, "would do so again; take one of them"),
        (
            {"privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0}, "strategy_min_patients": 1},
            "must be 'shuffled' with 'dp-sgd'",
        ),
    ],
)
def test_what_can_not_be_had_with_it_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as refused:
        job_of(**options)
    assert f"[training] sampling: {message}" in str(refused.value) or message in str(refused.value)
