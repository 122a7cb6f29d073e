"""The faster instance norm computes what PyTorch's does, and nothing else changes."""

import pytest
import torch
from torch import nn

from client.training.channels_last import ChannelsLastInstanceNorm, suit_channels_last
from client.training.loop import place_model
from shared.networks.build import build_model
from shared.wire.packed_model import Layout

CPU = torch.device("cpu")


def norms(channels: int = 3) -> tuple[nn.InstanceNorm2d, ChannelsLastInstanceNorm]:
    """Return PyTorch's norm and the faster one, with the same parameters."""
    theirs = nn.InstanceNorm2d(channels, affine=True)
    ours = ChannelsLastInstanceNorm(channels, affine=True)
    nn.init.normal_(theirs.weight, generator=torch.Generator().manual_seed(1))
    nn.init.normal_(theirs.bias, generator=torch.Generator().manual_seed(2))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def images(*shape: int, offset: float = 0.0) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) + offset
    return values.to(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("offset", [0.0, 1000.0], ids=["centred", "far from zero"])
def test_values_and_gradients_are_pytorchs(offset: float) -> None:
    theirs, ours = norms()
    results = []
    for norm in (theirs, ours):
        given = images(2, 3, 5, 7, offset=offset)
        out = norm(given)
        out.square().cumsum(3).sum().backward()
        results.append([out.detach(), given.grad, norm.weight.grad, norm.bias.grad])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(
            found, wanted, rtol=1e-3 if offset else 1e-4, atol=1e-3 if offset else 1e-4
        )


def test_the_gradient_is_that_of_the_values() -> None:
    norm = ChannelsLastInstanceNorm(2, affine=True).double()
    given = images(2, 2, 3, 4).double().detach().requires_grad_()
    assert given.is_contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradcheck(norm, given)


def test_the_channels_stay_last() -> None:
    assert norms()[1](images(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)


def test_other_layouts_and_single_pixels_are_left_to_pytorch() -> None:
    theirs, ours = norms()
    plain = torch.randn(2, 3, 4, 4)
    assert torch.equal(ours(plain), theirs(plain))
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        ours(images(2, 3, 1, 1))


def test_a_placed_network_has_the_same_parameters_and_says_the_same(tiny_job) -> None:
    job = tiny_job(model_name="unet", model_norm="instance")
    plain, placed = (build_model(job, seed=0) for _ in range(2))
    placed = place_model(placed, job, CPU)
    assert any(isinstance(module, ChannelsLastInstanceNorm) for module in placed.modules())
    assert Layout.of(placed) == Layout.of(plain)
    torch.testing.assert_close(
        placed(images(2, 1, 16, 16)), plain(images(2, 1, 16, 16)), rtol=1e-4, atol=1e-4
    )


def test_norms_without_parameters_or_with_statistics_stay() -> None:
    model = nn.Sequential(nn.InstanceNorm2d(2), nn.InstanceNorm2d(2, affine=True, track_running_stats=True))
    suit_channels_last(model)
    assert all(type(module) is nn.InstanceNorm2d for module in model)


def test_half_precision_stays_between_layers_and_adds_up_in_full() -> None:
    _, ours = norms()
    full, half = images(2, 3, 64, 64, offset=3.0), images(2, 3, 64, 64, offset=3.0).bfloat16().detach()
    half.requires_grad_()
    wanted, found = ours(full), ours(half)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, rtol=0.02, atol=0.03)
    found.float().square().sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert ours.weight.grad.dtype == torch.float32
