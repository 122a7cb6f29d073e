"""The images that the steps of a round take: a round may go on where the last one ended."""

from typing import Any

import pytest

from client.training.sample_order import SampleOrder
from shared.errors import JobError
from tests.jobs import make_job

STEPS = {"training_local_epochs": None, "training_local_steps": 2, "training_batch_size": 10}


def order_of(images: int, **options: Any) -> SampleOrder:
    return SampleOrder.public(make_job(**STEPS | options), images, "a")


def test_rounds_that_continue_take_every_image_once_in_each_pass() -> None:
    order = order_of(50, training_passes="continued")
    assert (order.steps, order.batches_per_pass) == (2, 5)
    taken = [batch for round_ in range(1, 6) for batch in order.batches(round_)]
    for begin in (0, 5):
        assert sorted(index for batch in taken[begin : begin + 5] for index in batch) == list(range(50))
    assert taken[:5] != taken[5:]
    assert list(order.batches(3)) == taken[4:6]  # whatever was asked before


def test_other_rounds_begin_with_a_pass_of_their_own() -> None:
    order = order_of(50)
    taken = [index for round_ in range(1, 6) for batch in order.batches(round_) for index in batch]
    assert sorted(taken[:50]) != list(range(50))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_local_epochs": 1, "training_local_steps": None}, "passes: 'continued' needs local_steps"),
        ({"privacy_secure_aggregation": True}, "[training] passes: 'continued' can't be had with"),
        (
            {"privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0}, "strategy_weight": "equal"},
            "[training] passes: 'continued' can't be had with",
        ),
    ],
)
def test_passes_that_can_not_continue_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError) as refused:
        make_job(**STEPS | {"training_passes": "continued"} | changes)
    assert words in refused.value.problem
