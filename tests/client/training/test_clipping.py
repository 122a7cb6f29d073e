"""Clipped sums of networks that hooks alone do not see through."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from client.training.clipping import GhostSum, PerSampleSum
from shared.batch import Batch
from shared.errors import WardroundError

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
BOUND = 0.7


class Toy(nn.Module):
    """A convolution and a head, and beside them a branch that subclasses add to the features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images).relu().mean((2, 3))
        return self.head(features + self.branch(features))

    def branch(self, features: Tensor) -> Tensor | float:
        return 0.0


class LearnedTokens(Toy):
    """As many tokens as there are images in a trial, through a layer that takes them for samples."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.mix = nn.Parameter(torch.randn(2, 3)), nn.Linear(3, 4)

    def branch(self, features: Tensor) -> Tensor:
        return self.mix(self.tokens).mean(0)


class Constant(Toy):
    """A layer that gets the same for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Linear(3, 4)

    def branch(self, features: Tensor) -> Tensor:
        return self.side(torch.ones(len(features), 3))


class Scale(nn.Module):
    """A layer of one bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weight


class BareParameter(Toy):
    """A parameter of its own, zero at first."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale()

    def branch(self, features: Tensor) -> Tensor:
        return self.scale(features)


class BiasOnly(Toy):
    """A bias that is added to what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def branch(self, features: Tensor) -> Tensor:
        return self.bias


class UsedTwice(Toy):
    """One layer for the image's features and for a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(4, 4)

    def branch(self, features: Tensor) -> Tensor:
        return self.both(features) + self.both(torch.ones_like(features))


class Tied(Toy):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def branch(self, features: Tensor) -> Tensor:
        return self.second(self.first(features).relu())


class Idle(Toy):
    """A layer that nothing is done with."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(4, 4)


class Frozen(Toy):
    """A convolution that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.conv.requires_grad_(False)


NETWORKS: list[type[Toy]] = [
    Toy,
    LearnedTokens,
    Constant,
    BareParameter,
    BiasOnly,
    UsedTwice,
    Tied,
    Idle,
    Frozen,
]


def losses_of(model: nn.Module) -> Callable[[Batch], Tensor]:
    return lambda batch: nn.functional.cross_entropy(model(batch["image"]), batch["label"], reduction="none")


def batch_of(images: Tensor, targets: Tensor) -> Batch:
    return Batch({"image": images, "label": targets}, ["p"] * len(targets))


def expected(model: nn.Module, images: Tensor, targets: Tensor, owners: Tensor) -> Tensor:
    """Return the clipped sum, from one plain backward pass a unit."""
    total = torch.zeros(sum(p.numel() for p in model.parameters() if p.requires_grad))
    for unit in owners.unique():
        own = owners == unit
        model.zero_grad()
        losses_of(model)(batch_of(images[own], targets[own])).mean().backward()
        parts = [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
            for p in model.parameters()
            if p.requires_grad
        ]
        gradient = torch.cat(parts)
        total += gradient * min(1.0, BOUND / float(gradient.norm()))
    model.zero_grad()
    return total


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("kind", "units"), [(PerSampleSum, 4), (PerSampleSum, 2), (GhostSum, 4)])
def test_every_parameter_counts_and_no_unit_counts_more_than_it_may(network, kind, units) -> None:
    torch.manual_seed(1)
    model = network().train()
    images, targets = torch.randn(4, 1, 6, 6) * 3, torch.tensor([0, 1, 1, 0])
    owners = torch.arange(4) % units
    owners = owners.sort().values
    wanted = expected(model, images, targets, owners)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    clipped = kind(model, losses_of(model), BOUND, {"label"})
    for _ in range(2):  # nothing of one batch is left for the next
        clipped.add(batch_of(images.clone(), targets), owners)
        told = torch.cat([total.flatten() for total in clipped.take()])
        torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-6)
    clipped.close()
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", [PerSampleSum, GhostSum])
def test_an_image_that_breaks_the_arithmetic_adds_nothing(network, kind) -> None:
    torch.manual_seed(2)
    model = network().train()
    images, targets = torch.randn(3, 1, 6, 6), torch.tensor([0, 1, 1])
    wanted = expected(model, images[1:], targets[1:], torch.arange(2))
    images[0] = torch.inf
    clipped = kind(model, losses_of(model), BOUND, {"label"})
    clipped.add(batch_of(images, targets), torch.arange(3))
    told = torch.cat([total.flatten() for total in clipped.take()])
    torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [PerSampleSum, GhostSum])
def test_a_network_that_mixes_images_is_refused(kind) -> None:
    class Mixing(Toy):
        def branch(self, features: Tensor) -> Tensor:
            return -features.mean(0)

    model = Mixing().train()
    clipped = kind(model, losses_of(model), BOUND, {"label"})
    with pytest.raises(WardroundError, match="mixes the images of a batch"):
        clipped.add(batch_of(torch.randn(3, 1, 6, 6), torch.tensor([0, 1, 1])), torch.arange(3))


@pytest.mark.parametrize("kind", [PerSampleSum, GhostSum])
def test_samples_without_gradients_show_nothing_of_a_network(kind) -> None:
    """A loss of zero, of which a teacher was not sure: the trial is made again with what comes after it."""

    class Mixing(Toy):
        def branch(self, features: Tensor) -> Tensor:
            return -features.mean(0)

    def unsure(model: nn.Module) -> Callable[[Batch], Tensor]:
        return lambda batch: losses_of(model)(batch) * (batch["label"] == 1)

    images, owners = torch.randn(2, 1, 6, 6), torch.arange(2)
    for network in (Mixing, Toy):
        model = network().train()
        clipped = kind(model, unsure(model), BOUND, {"label"})
        clipped.add(batch_of(images.clone(), torch.tensor([0, 0])), owners)
        assert not any(total.any() for total in clipped.take())
        known = batch_of(images.clone(), torch.tensor([1, 1]))
        if network is Mixing:
            with pytest.raises(WardroundError, match="mixes the images of a batch"):
                clipped.add(known, owners)
        else:
            clipped.add(known, owners)
            told = torch.cat([total.flatten() for total in clipped.take()])
            wanted = expected(model, images, torch.tensor([1, 1]), owners)
            torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-6)
            assert clipped._hooks.hooks_enabled


def test_a_trial_draws_no_random_numbers_that_training_would_have() -> None:
    model = Toy().train()
    clipped = PerSampleSum(model, losses_of(model), BOUND, {"label"})
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    clipped.add(batch_of(torch.zeros(2, 1, 6, 6), torch.tensor([0, 1])), torch.arange(2))
    assert torch.equal(torch.rand(3), wanted)


class Pair(nn.Module):
    """Two images in, a tuple out, and from its parts one loss per sample."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(4, 2)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [self.left(left), self.right(right)]
        return self.head(torch.cat([one.relu().mean((2, 3)) for one in maps], 1)), maps


def pair_losses(model: nn.Module, batch: Batch) -> Tensor:
    scores, maps = model(batch["fixed"], batch["moving"])
    smooth = sum(one.square().mean((1, 2, 3)) for one in maps)
    return nn.functional.cross_entropy(scores, batch["label"], reduction="none") + smooth


@pytest.mark.parametrize("kind", [PerSampleSum, GhostSum])
@pytest.mark.parametrize("extra", ["tensor", "list"])
def test_several_inputs_and_outputs_are_clipped_as_one(kind, extra) -> None:
    """Also where a field is not stacked, which no hook follows: then each unit goes alone."""
    torch.manual_seed(4)
    model = Pair().train()
    values = {
        "fixed": torch.randn(3, 1, 6, 6) * 3,
        "moving": torch.randn(3, 1, 6, 6) * 3,
        "label": torch.tensor([0, 1, 1]),
        "weight": torch.ones(3) if extra == "tensor" else [torch.ones(n) for n in (1, 2, 3)],
    }
    batch = Batch(values, ["p"] * 3)
    wanted = torch.zeros(sum(parameter.numel() for parameter in model.parameters()))
    for sample in range(3):
        model.zero_grad()
        pair_losses(model, batch.chosen([sample])).mean().backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        wanted += gradient * min(1.0, BOUND / float(gradient.norm()))
    model.zero_grad()
    clipped = kind(model, lambda some: pair_losses(model, some), BOUND, {"label"})
    clipped.add(batch, torch.arange(3))
    told = torch.cat([total.flatten() for total in clipped.take()])
    torch.testing.assert_close(told, wanted, rtol=1e-4, atol=1e-6)
