"""The quicker PReLU computes PyTorch's numbers, bit for bit, and nothing else changes."""

import pytest
import torch
from torch import nn

from client.training.loop import place_model
from client.training.prelu import QuickPReLU, suit_processor
from shared.networks.build import build_model
from shared.wire.packed_model import Layout


def drawn(shape: tuple[int, ...], layout: torch.memory_format, seed: int) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    values.flatten()[:2] = 0.0  # neither side
    return values.contiguous(memory_format=layout)


@pytest.mark.parametrize("slope", [0.25, 0.0, -0.1])
@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((3, 5, 13, 9), torch.channels_last),
        ((3, 5, 13, 9), torch.contiguous_format),
        ((2, 4, 8, 6, 5), torch.contiguous_format),
        ((4, 7), torch.contiguous_format),
    ],
    ids=["channels last", "2D", "3D", "vectors"],
)
def test_values_and_gradients_have_pytorchs_bits(
    shape: tuple[int, ...], layout: torch.memory_format, slope: float
) -> None:
    results = []
    for kind in (nn.PReLU, QuickPReLU):
        activation, values = kind(init=slope), drawn(shape, layout, 0).requires_grad_()
        out = activation(values)
        out.backward(drawn(shape, layout, 1))
        results.append([out.detach(), values.grad, activation.weight.grad])
    for wanted, found in zip(*results, strict=True):
        assert torch.equal(found, wanted)
        assert found.stride() == wanted.stride()


@pytest.mark.parametrize("privacy", [{}, {"privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0}}])
def test_a_placed_network_has_it_where_no_hooks_need_pytorchs_layers(tiny_job, privacy) -> None:
    job = tiny_job(model_norm="instance", **privacy)
    plain, placed = build_model(job), place_model(build_model(job), job, torch.device("cpu"))
    assert Layout.of(placed) == Layout.of(plain)
    assert any(isinstance(module, QuickPReLU) for module in placed.modules()) == (not privacy)


def test_slopes_of_each_channel_are_left_to_pytorch() -> None:
    model = nn.Sequential(nn.PReLU(3))
    suit_processor(model)
    assert type(model[0]) is nn.PReLU
