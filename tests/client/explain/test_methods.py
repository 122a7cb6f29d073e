"""Each method against its paper's property, on networks whose answer is known."""

import pytest
import torch
from monai.visualize import GradCAM
from torch import Tensor, nn

from client.explain.explainer import Explainer
from client.explain.methods import METHODS
from client.explain.subject import Subject
from shared.batch import Batch
from shared.errors import RunError
from shared.networks.build import build_model
from shared.networks.encoder import Encoder
from shared.networks.modes import asked
from shared.tasks import make_task
from tests.jobs import make_job

OF_CNN = sorted(METHODS.keys() - {"attention"})
SPOT = (slice(4, 9), slice(10, 15))


class Spot(nn.Module):
    """Sees one place of an image, and nothing else: the sum there, squared."""

    def __init__(self, dimensions: int = 2) -> None:
        super().__init__()
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.conv = kind(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self._spot = SPOT if dimensions == 2 else (*SPOT, slice(3, 6))

    def forward(self, images: Tensor) -> Tensor:
        place = self.conv(images)[:, :, *self._spot].flatten(1).mean(1)
        return place + place**2


def subject(network: nn.Module, image: Tensor, others: Tensor | None = None) -> Subject:
    return Subject(network, image, image[:0] if others is None else others, [network], 1)


def images(count: int, *size: int) -> Tensor:
    return torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"attention", "grad-cam"}))
@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_points_at_the_one_place_that_counts(name: str, dimensions: int) -> None:
    network = Spot(dimensions)
    size = (16, 20) if dimensions == 2 else (16, 20, 10)
    given = images(4, *size)
    with asked([network]):
        found = METHODS[name](subject(network, given[:1], 0.1 * given[1:]))
    assert found.shape == size
    spot = torch.zeros(size)
    spot[*SPOT] = 1
    assert spot.flatten()[found.argmax()] == 1
    inside, outside = found[spot > 0].mean(), found[spot == 0].abs().mean()
    assert inside > 4 * outside
    with asked([network]):
        assert torch.equal(found, METHODS[name](subject(network, given[:1], 0.1 * given[1:])))


def test_shares_of_integrated_gradients_add_up_to_the_score() -> None:
    network, given = Spot(), images(1, 16, 20)
    with asked([network]):
        found = METHODS["integrated-gradients"](subject(network, given))
    assert found.sum() == pytest.approx(network(given).item() - network(0 * given).item(), rel=1e-4)


def test_shares_of_expected_gradients_add_up_to_what_is_above_the_others() -> None:
    network, given = Spot(), images(9, 16, 20)
    with asked([network]):
        found = METHODS["shap"](subject(network, given[:1], 0.5 * given[1:]))
    expected = network(given[:1]).item() - network(0.5 * given[1:]).mean().item()
    assert found.sum() == pytest.approx(expected, rel=0.05)


def test_lime_of_a_linear_network_is_what_its_cells_add() -> None:
    weights = torch.rand(16, 16, generator=torch.Generator().manual_seed(3))

    def network(given: Tensor) -> Tensor:
        return (given[:, 0] * weights).sum((1, 2))

    image = torch.ones(1, 1, 16, 16)
    found = METHODS["lime"](Subject(network, image, image[:0], [], 1))
    cells = weights.reshape(8, 2, 8, 2).sum((1, 3))
    torch.testing.assert_close(found[::2, ::2], cells, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("network", ["cnn", "resnet18", "densenet121"])
def test_grad_cam_is_that_of_monai(network: str) -> None:
    job = make_job(
        task_name="classification",
        model={"name": network, "channels": [4, 8]} if network == "cnn" else {"name": network},
        data={"channels": 1, "size": [64, 72]},
    )
    model = build_model(job).eval()
    given, layer = images(1, 64, 72), {"cnn": "levels.6", "resnet18": "layer4.1"}.get(network)
    with asked([model]):
        found = METHODS["grad-cam"](Subject(lambda own: model(own)[:, 1], given, given[:0], [model], 1))
    assert found.shape == (64, 72)
    assert not any(module._forward_hooks for module in model.modules())
    if layer is None:
        return
    theirs = GradCAM(model, layer, postprocessing=lambda own: own)(given.clone(), class_idx=1)[0, 0]
    torch.testing.assert_close(found, theirs.detach(), rtol=1e-4, atol=1e-6)


def explained(method: str, model: dict[str, object], **options: object) -> Tensor:
    job = make_job(task_name="classification", model=model, data={"channels": 1, "size": [32, 32]})
    task, models = make_task(job), {"model": build_model(job)}
    batch = Batch({"image": images(2, 32, 32)}, ["a", "b"], keys=["a", "b"])
    predicted = task.predict(models, batch)
    reasons = Explainer([method], **options).reasons(task, models, batch, predicted)
    assert models["model"].training
    assert {one.about for one in reasons} <= {"what speaks for small", "what speaks for large"}
    return torch.stack([one.maps[method] for one in reasons])


CNN = {"name": "cnn", "channels": [4, 8]}
VIT = {"name": "vit", "patch": 8, "features": 16, "layers": 2, "heads": 2}


def test_attention_reaches_the_class_token_from_all_patches() -> None:
    found = explained("attention", VIT)
    assert found.shape == (2, 32, 32)
    assert found.min() > 0
    assert found[:, 4::8, 4::8].sum() < 2  # what is left of each token's 1 is its own


@pytest.mark.parametrize(("method", "model"), [("grad-cam", VIT), ("attention", CNN)])
def test_what_a_network_has_not_is_said(method: str, model: dict[str, object]) -> None:
    with pytest.raises(RunError, match="the network"):
        explained(method, model)


def test_another_class_can_be_explained_and_a_wrong_one_is_named() -> None:
    both = [explained("integrated-gradients", CNN, of=name) for name in ("small", "large")]
    assert not torch.allclose(*both)
    with pytest.raises(RunError, match="did you mean 'large'"):
        explained("grad-cam", CNN, of="lage")
    with pytest.raises(RunError, match="did you mean 'grad-cam'"):
        Explainer(["gradcam"]).require_known()


def test_remembered_features_have_gradients_again() -> None:
    """An encoder that remembers says that nothing depends on the image."""
    encoder = Encoder(nn.Conv2d(1, 2, 3), nn.Flatten())
    for parameter in encoder.parameters():
        parameter.requires_grad_(requires_grad=False)
    encoder.remember()
    given = images(1, 8, 8)

    def score(own: Tensor) -> Tensor:
        return encoder(own).sum(1)

    score(given)
    with asked([encoder]):
        assert METHODS["integrated-gradients"](Subject(score, given, given[:0], [encoder], 1)).abs().sum() > 0
    assert encoder.memory is not None
