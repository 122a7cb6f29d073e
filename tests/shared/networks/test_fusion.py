"""Networks that bring the features of an image and of a record together."""

from typing import cast

import pytest
import torch

from shared.networks import NETWORKS, Ends
from shared.networks.fusion import FusionOptions
from shared.networks.fusion_modules import Concat, Film, Fusion, Gated

KINDS = ("concat", "film", "gated")


def built(kind: str, **options: object) -> Fusion:
    torch.manual_seed(0)
    made = NETWORKS[kind](name=kind, **options)
    return cast(Fusion, made.build(Ends.of_features(4, 3)))


def features(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(5, 4, generator=draw), torch.randn(5, 4, generator=draw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [[], [6]])
def test_it_has_about_as_many_numbers_as_it_says(kind: str, hidden: list[int]) -> None:
    options = FusionOptions(name=kind, hidden=hidden)  # type: ignore[arg-type]
    ends = Ends.of_features(32, 3)
    numbers = sum(parameter.numel() for parameter in options.build(ends).parameters())
    assert options.about_numbers(ends) == pytest.approx(numbers, rel=1 / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lacking_is_not_looked_at_and_a_token_stands_in_for_it(kind: str) -> None:
    model = built(kind, hidden=[6])
    (image, record), (other, _) = features(), features(2)
    lacking = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
    found = model(image, record, lacking)
    torch.testing.assert_close(model(other, record, lacking), found)
    assert (model(other, record, lacking * 0) != found).any(dim=1).all()
    found.sum().backward()
    tokens = [cast(torch.nn.Linear, token).weight.grad for token in model.tokens]
    assert tokens[0] is not None
    assert tokens[0].abs().sum() > 0
    assert tokens[1] is not None
    assert tokens[1].abs().sum() == 0


def test_side_by_side_without_further_layers_is_a_sum() -> None:
    model = cast(Concat, built("concat"))
    image, record = features()
    both = torch.zeros(5, 2)
    alone = (
        model(image, 0 * record, both) + model(0 * image, record, both) - model(0 * image, 0 * record, both)
    )
    torch.testing.assert_close(model(image, record, both), alone)


def test_film_scales_and_shifts_the_features_of_the_image() -> None:
    """Equation 2 of Perez et al. 2018."""
    model = cast(Film, built("film"))
    image, record = features()
    gamma, beta = 1 + model.scale(record), model.shift(record)
    torch.testing.assert_close(model.fused(image, record), torch.relu(gamma * image + beta))


def test_a_gate_says_how_much_is_the_images() -> None:
    """Equation 1 of Arevalo et al. 2017."""
    model = cast(Gated, built("gated"))
    image, record = features()
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.fill_(50.0)
    torch.testing.assert_close(model.fused(image, record), model.image(image).tanh())
    with torch.no_grad():
        model.gate.bias.fill_(-50.0)
    torch.testing.assert_close(model.fused(image, record), model.record(record).tanh())


def test_inputs_are_dropped_in_training_alone_and_never_both() -> None:
    model = built("concat", drop_input=0.5)
    lacking = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).repeat(400, 1)
    torch.manual_seed(1)
    dropped = model._dropped(lacking)
    assert (dropped.sum(dim=1) <= 1).all()
    assert dropped[1::2].sum() == 0
    assert dropped[::2].sum(dim=0).tolist() == pytest.approx([100, 100], abs=35)
    model.eval()
    image, record = features()
    torch.testing.assert_close(*(model(image, record, torch.zeros(5, 2)) for _ in range(2)))
