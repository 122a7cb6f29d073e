"""Parameters in one row of memory train as they did, each by itself."""

import weakref

import pytest
import torch
from torch import nn

from client.training.flat_parameters import FlatParameters
from client.training.phases import make_optimizer
from shared.networks.frozen_parts import trainable


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.PReLU(), nn.Conv2d(5, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 4, 3)
    )
    model[4].bias.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)


def images() -> torch.Tensor:
    values = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return values.to(memory_format=torch.channels_last)


def loss_of(model: nn.Module) -> torch.Tensor:
    return model(images()).square().sum()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_an_optimiser_takes_the_same_steps(optimizer: str, tiny_job) -> None:
    training = tiny_job(training_optimizer=optimizer, training_weight_decay=0.01).training
    apart, together = network(), network()
    flat = FlatParameters(trainable(together))
    flat.collect_gradients()
    steps = [
        make_optimizer({1.0: trainable(apart)}, training),
        make_optimizer({1.0: [flat.vector]}, training),
    ]
    for _ in range(3):
        for model, step in zip((apart, together), steps, strict=True):
            step.zero_grad(set_to_none=False)
            loss_of(model).backward()
            step.step()
    start = network().state_dict()
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, apart.state_dict()[name])
        assert torch.equal(value, start[name]) == (name == "4.bias")  # the one that is frozen


def test_values_and_layouts_in_memory_stay() -> None:
    model, before = network(), network()
    FlatParameters(trainable(model))
    for now, then in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(now, then)
        assert now.stride() == then.stride()


def test_gradients_of_an_earlier_round_are_gone() -> None:
    model = network()
    flat = FlatParameters(trainable(model))
    flat.collect_gradients()
    loss_of(model).backward()
    model.zero_grad(set_to_none=True)  # somebody else's way of clearing them
    flat.collect_gradients()
    assert flat.vector.grad is not None
    assert not flat.vector.grad.any()
    loss_of(model).backward()
    assert flat.vector.grad.norm() == pytest.approx(
        torch.stack([p.grad.norm() for p in trainable(model)]).norm().item()
    )


def test_a_network_that_was_laid_out_again_is_not_trained_in_vain() -> None:
    model = network()
    first, _ = FlatParameters(trainable(model)), FlatParameters(trainable(model))
    with pytest.raises(AssertionError):
        first.collect_gradients()


def test_gradients_that_were_let_go_take_no_memory_until_the_next_round() -> None:
    model = network()
    flat = FlatParameters(trainable(model))
    flat.collect_gradients()
    loss_of(model).backward()
    first = flat.vector.grad
    assert first is not None
    expected, known = first.clone(), weakref.ref(first)
    del first
    flat.let_gradients_go()
    assert known() is None
    assert all(parameter.grad is None for parameter in model.parameters())
    flat.collect_gradients()
    loss_of(model).backward()
    assert flat.vector.grad is not None
    assert torch.equal(flat.vector.grad, expected)
