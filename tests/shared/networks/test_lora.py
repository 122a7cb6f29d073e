"""Adapters: at first they change nothing, only they are trained, and merged they give the same."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.networks.build import build_model
from shared.networks.frozen_parts import train_mode, trainable
from shared.networks.lora import adapters_of, without_adapters
from shared.wire.packed_model import Layout
from tests.jobs import IMAGE_NETWORKS, make_job
from tests.shared.networks.test_models import SMALL, images_for, small_job

LORA = {"rank": 3, "alpha": 6.0}
LARGE = {("resnet50", 2), ("resnet50", 3), ("resnet18", 3), ("vnet", 3)}  # of layers that others have too
ADAPTED = [
    (name, dimensions)
    for name in sorted(IMAGE_NETWORKS)
    for dimensions in NETWORKS[name].dimensions
    if (name, dimensions) not in LARGE
]


def lora_job(name: str = "cnn", **options: Any) -> JobSpec:
    table = options.pop("lora", LORA)
    return make_job(
        task_name="classification", model={"name": name, "norm": "group", "lora": table}, **options
    )


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    layout = Layout.of(model)
    return dict(layout.state_dict(layout.pack(model)))


def shaken(model: nn.Module) -> nn.Module:
    """Move everything that can be trained."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize(("name", "dimensions"), ADAPTED)
def test_merged_weights_give_what_the_network_with_adapters_gives(name: str, dimensions: int) -> None:
    job = small_job(name, dimensions, **SMALL.get(name, {}), lora=LORA)
    images = images_for(job)
    plain = build_model(job, adapted=False).eval()
    adapted = build_model(job).eval()
    with torch.no_grad():
        before = plain(images)
        assert torch.equal(adapted(images), before)  # before it is trained

        shaken(adapted)
        plain.load_state_dict(dict(without_adapters(job, tensors_of(adapted))), strict=False)
        given, merged = adapted(images), plain(images)
    assert not torch.equal(given, before)
    torch.testing.assert_close(merged, given, rtol=1e-3, atol=1e-3 * float(given.abs().max()))


def test_nothing_but_adapters_and_named_parts_is_trained_and_sent() -> None:
    model = build_model(lora_job(update_parts=["head"]))
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {*adapters_of(model), "head.1.weight", "head.1.bias"}
    assert not any(name.startswith("head") for name in adapters_of(model))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_mode(model)
    optimizer = torch.optim.SGD(trainable(model), lr=0.1)
    for _ in range(2):  # in the first step `down` has no gradient, as `up` is 0
        optimizer.zero_grad()
        model(torch.randn(2, 1, 16, 16)).square().sum().backward()
        optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == names


def test_the_vector_that_is_sent_is_small() -> None:
    whole = Layout.of(build_model(lora_job("resnet18", data_size=[32, 32]), adapted=False))
    adapted = Layout.of(build_model(lora_job("resnet18", lora={"rank": 4}, data_size=[32, 32])))
    assert adapted.parameters < 0.03 * whole.parameters


def test_the_drawn_weights_are_those_without_adapters() -> None:
    plain = tensors_of(build_model(lora_job(), adapted=False))
    merged = without_adapters(lora_job(), tensors_of(build_model(lora_job())))
    assert plain.keys() == merged.keys()
    assert all(torch.equal(plain[name], merged[name]) for name in plain)


def test_layers_choose_what_is_adapted() -> None:
    model = build_model(lora_job(lora={"layers": ["levels.4"]}))
    assert adapters_of(model) == {"levels.4.down.weight", "levels.4.up.weight"}


@pytest.mark.parametrize(
    ("lora", "parts", "message"),
    [
        ({"layers": ["level"]}, None, r"\[model.lora\]: layers: 'level' has no linear layer.*'levels'"),
        ({"layers": ["head"]}, ["head"], "no layer is left for an adapter"),
        ({"rank": 0}, None, r"\[model\] lora.*rank|rank"),
    ],
)
def test_what_can_not_be_adapted_is_refused(lora: dict[str, Any], parts: Any, message: str) -> None:
    with pytest.raises(JobError, match=message):
        build_model(lora_job(lora=lora, update_parts=parts))


def test_the_scale_is_alpha_over_rank() -> None:
    job, twice = lora_job(lora={"rank": 3, "alpha": 3.0}), lora_job(lora={"rank": 3, "alpha": 6.0})
    first = tensors_of(shaken(build_model(job)))
    base = tensors_of(build_model(job, adapted=False))["levels.0.weight"]
    once, double = (without_adapters(one, first)["levels.0.weight"] for one in (job, twice))
    np.testing.assert_allclose(double - base, 2 * (once - base), rtol=1e-4, atol=1e-6)
