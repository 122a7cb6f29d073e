"""Factors on the learning rate, and what is frozen by a factor of 0."""

from typing import Any

import numpy as np
import pytest

from client.training.loop import LocalTraining
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.job_parts import counts_are_sent, is_sent_whole
from shared.networks.build import build_model
from shared.privacy.filters import UpdateFilter
from shared.tasks import make_task
from shared.wire.packed_model import Layout
from tests.client.training.test_private_training import CPU, PATIENTS, samples_for
from tests.jobs import make_job


def rated_job(rates: dict[str, float], **options: Any) -> JobSpec:
    given = {
        "task_name": "classification",
        "model_norm": "group",
        "data_augment": [],
        "training_optimizer": "sgd",
        "training_momentum": 0.0,
        "training_batch_size": 16,  # all images in one step: their order depends on the job
        "training_local_epochs": None,
        "training_local_steps": 1,
    }
    return make_job(training_rates=rates, **given | options)


def moves(job: JobSpec) -> dict[str, float]:
    """Return how far each tensor moves in a round."""
    model = build_model(job, seed=1)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    LocalTraining(model, make_task(job), samples_for(job, PATIENTS), job, site="a", device=CPU).run(1)
    return {name: float((tensor - before[name]).norm()) for name, tensor in model.named_parameters()}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_factor_counts_for_the_innermost_module(optimizer: str) -> None:
    plain = moves(rated_job({}, training_optimizer=optimizer))
    rated = moves(rated_job({"levels": 0.5, "levels.0": 0.25, "head": 2.0}, training_optimizer=optimizer))
    weights = (name for name in plain if name.endswith("weight"))  # a bias before a norm has no gradient
    for name in weights:
        factor = 2.0 if name.startswith("head") else 0.25 if name.startswith("levels.0.") else 0.5
        assert rated[name] == pytest.approx(factor * plain[name], rel=0.02, abs=1e-7), name


def test_a_factor_of_0_is_neither_trained_nor_sent() -> None:
    job = rated_job({"levels": 0.0}, model_norm="batch")
    moved = moves(job)
    assert all((distance > 0) == name.startswith("head") for name, distance in moved.items())
    layout = Layout.of(build_model(job))
    sent = UpdateFilter(job.update, lambda name: counts_are_sent(job, name), layout)
    assert (
        sent.size
        == layout.parameters
        == sum(
            tensor.numel() for name, tensor in build_model(job).named_parameters() if name.startswith("head")
        )
    )
    assert not is_sent_whole(job)
    assert is_sent_whole(rated_job({"levels": 0.5}))


def test_the_sum_of_rates_is_that_of_each_tensor() -> None:
    job = rated_job({"head": 3.0})
    model = build_model(job, seed=1)
    training = LocalTraining(model, make_task(job), samples_for(job, PATIENTS), job, site="a", device=CPU)
    rates = training.run(1).rates
    head = sum(tensor.numel() for tensor in model.head.parameters())
    assert isinstance(rates, np.ndarray)
    assert rates[-head:] == pytest.approx(3 * job.training.learning_rate)
    assert rates[:-head] == pytest.approx(job.training.learning_rate)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"body": 0.5}, r"\[training\]: rates: no part of the network .* is 'body'"),
        ({"levels": 0.0, "head": 0.0}, "nothing is left to train"),
    ],
)
def test_wrong_parts_are_named(rates: dict[str, float], message: str) -> None:
    with pytest.raises(JobError, match=message):
        build_model(rated_job(rates))
    with pytest.raises(JobError, match="rates"):
        rated_job({"levels": -1.0})


def test_without_factors_a_job_keeps_its_digest() -> None:
    assert "rates" not in rated_job({}).canonical()
