"""An optimiser's moments from round to round: as if it had never stopped, and not without being asked."""

import pytest
import torch

from client.training.optimiser_state import moments_of, take_up
from client.training.phases import make_optimizer
from shared.errors import JobError
from tests.jobs import make_job


def steps(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, count: int) -> None:
    for number in range(count):
        parameter.grad = torch.linspace(-1, 1, parameter.numel()) * (number + 1) + parameter.detach()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimiser_goes_on_as_if_it_had_never_stopped(name):
    training = make_job(training_optimizer=name).training
    whole, first = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizer = make_optimizer({1.0: [whole]}, training)
    steps(optimizer, whole, 3)
    steps(optimizer, whole, 2)

    stopped = make_optimizer({1.0: [first]}, training)
    steps(stopped, first, 3)
    second = torch.nn.Parameter(first.detach().clone())
    going_on = make_optimizer({1.0: [second]}, training)
    take_up(going_on, moments_of(stopped))
    steps(going_on, second, 2)
    assert torch.equal(whole, second)


def test_a_job_without_it_keeps_its_digest_and_its_order():
    assert "keep_optimizer" not in make_job().canonical()
    kept = make_job(training_keep_optimizer=True)
    assert '"keep_optimizer":true' in kept.canonical()
    assert kept.digest() != make_job().digest()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_optimizer": "sgd", "training_momentum": 0.0}, "'sgd' without momentum remembers nothing"),
        (
            {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 1.0},
            "private training begins each",
        ),
    ],
)
def test_where_there_is_nothing_to_keep_it_is_refused(changes, words):
    with pytest.raises(JobError, match=words):
        make_job(training_keep_optimizer=True, **changes)
