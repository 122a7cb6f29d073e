"""What a job may say about its network, and which images fit which network."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from tests.jobs import IMAGE_NETWORKS_IN, TASK_OF, make_job


def job(model: dict[str, Any], task: str = "segmentation", **options: Any) -> JobSpec:
    return make_job(task_name=task, model=model, **options)


@pytest.mark.parametrize(("name", "dimensions"), IMAGE_NETWORKS_IN)
def test_every_network_has_defaults_for_64_pixels(name: str, dimensions: int) -> None:
    task = TASK_OF[NETWORKS[name].gives]
    spec = job({"name": name}, task, data_size=[64] * dimensions, data_dimensions=dimensions)
    assert spec.model.name == name


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_option_is_described(name: str) -> None:
    fields = {key: field for key, field in NETWORKS[name].model_fields.items() if key != "name"}
    assert [key for key, field in fields.items() if not field.description] == []


def test_a_network_of_the_other_task_is_refused_with_those_that_fit() -> None:
    with pytest.raises(JobError, match=r"\[model\] name: 'unet' is not for classification") as refused:
        job({"name": "unet"}, "classification", data_size=[64, 64])
    assert "resnet18" in str(refused.value)
    assert "swin-unetr" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ({"name": "unet"}, [16, 16], "at least 17 pixels along one axis"),
        ({"name": "swin-unetr"}, [32, 32], "at least 33 pixels along one axis"),
        ({"name": "segresnet"}, [8, 5], "at least 9 pixels along one axis"),
        (
            {"name": "vit", "patch": 8},
            [64, 61],
            "multiples of 8 along each axis, such as [64, 64]; got [64, 61]",
        ),
        ({"name": "resnet18"}, [16, 16], "at least 17 pixels along one axis"),
        ({"name": "resnet18", "stem_stride": 2}, [32, 32], "at least 33 pixels along one axis"),
        ({"name": "densenet121"}, [64, 31], "at least 32 pixels along each axis"),
        ({"name": "densenet121"}, [63, 63], "at least 64 pixels along one axis"),
        ({"name": "efficientnet-b0"}, [48, 48], "at least 64 pixels along one axis"),
    ],
)
def test_images_of_a_size_that_does_not_fit_are_refused(
    model: dict[str, Any], size: list[int], message: str
) -> None:
    task = TASK_OF[NETWORKS[model["name"]].gives]
    with pytest.raises(JobError) as refused:
        job(model, task, data_size=size)
    assert f"[data] size: '{model['name']}' needs {message}" in str(refused.value)


def test_the_patch_must_fit_where_there_is_one() -> None:
    assert job({"name": "unet"}, data_size=[100, 100], data_patch=[64, 64]).data.patch == [64, 64]
    with pytest.raises(JobError, match=r"\[data\] patch: 'unet' needs at least 17 pixels"):
        job({"name": "unet"}, data_size=[64, 64], data_patch=[16, 16])


def test_vnet_says_which_channels_it_takes() -> None:
    assert job({"name": "vnet"}, data_size=[64, 64], data_channels=4).data.channels == 4
    with pytest.raises(JobError, match=r"\[data\] channels: 'vnet' takes \[1, 2, 4, 8, 16\]; got 3"):
        job({"name": "vnet"}, data_size=[64, 64], data_channels=3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "unett"}, "did you mean 'unet'?"),
        ({"name": "unet", "norms": "group"}, r"norms: unknown key; did you mean 'norm'"),
        ({"name": "unet", "norm": "layer"}, r"norm: unknown name .layer."),
        ({"name": "unet", "channels": [16]}, r"channels: "),
        ({"name": "vit", "features": 100, "heads": 3}, r"heads: 3 heads can't share 100 features"),
        ({"name": "swin-unetr", "features": 20}, r"features: .* multiple of 12"),
    ],
)
def test_bad_options_are_named(model: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=rf"\[model\].*{message}"):
        job(model, data_size=[64, 64])


@given(st.integers(2, 64), st.lists(st.integers(1, 200), min_size=2, max_size=3))
def test_the_size_that_a_message_proposes_is_taken(patch: int, size: list[int]) -> None:
    network = NETWORKS["vit"](name="vit", patch=patch)
    need = network.size_problem(size)
    if need is not None:
        proposed = [int(number) for number in need.split("[")[1].rstrip("]").split(",")]
        assert network.size_problem(proposed) is None


def test_options_are_checked_without_loading_pytorch() -> None:
    heavy = ("torch", "monai", "flwr", "numpy")
    code = f"import sys, shared.job.schema; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
