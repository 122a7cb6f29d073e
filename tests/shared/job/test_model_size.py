"""How large a model is, is known before anything of it takes memory; none is beyond the largest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import JobError
from shared.job.model_size import check_model_size, is_larger, model_size
from shared.job.rules import about_model_megabytes
from shared.limits import LARGEST_MODEL_MB
from shared.networks import NETWORKS
from tests.jobs import IMAGE_NETWORKS_IN, TASK_OF, make_job

LEVELS = st.lists(st.sampled_from([2, 8, 16, 33, 64, 128, 320]), min_size=3, max_size=5)
OPTIONS = {
    "cnn": {"channels": LEVELS},
    "vit": {
        "features": st.sampled_from([8, 64, 256]),
        "layers": st.integers(1, 6),
        "heads": st.just(2),
        "patch": st.sampled_from([4, 16]),
    },
    "unet": {"channels": LEVELS, "num_res_units": st.integers(0, 8)},
    "dynunet": {"channels": LEVELS, "residual": st.booleans()},
    "attention-unet": {"channels": LEVELS},
    "segresnet": {"features": st.sampled_from([8, 16, 64])},
    "swin-unetr": {"features": st.sampled_from([12, 24, 48])},
    "vgg": {
        "variant": st.sampled_from(["alexnet", "vgg11", "vgg19"]),
        "width": st.sampled_from([0.25, 1.0]),
        "hidden": st.sampled_from([64, 4096]),
    },
    "inception": {"width": st.sampled_from([0.25, 1.0, 2.0])},
    "senet": {
        "variant": st.sampled_from(["se-resnet", "se-resnext", "resnext"]),
        "layers": st.sampled_from([[1, 1, 1, 1], [3, 4, 23, 3]]),
    },
    "capsule": {"features": st.sampled_from([8, 256]), "types": st.integers(1, 32)},
    "fcn": {"channels": LEVELS},
    "segnet": {"channels": LEVELS},
    "two-paths": {"channels": LEVELS, "hidden": st.sampled_from([8, 300])},
    "cascade": {"channels": LEVELS, "num_res_units": st.integers(0, 4)},
    "dense-unet": {
        "features": st.sampled_from([8, 64]),
        "growth": st.sampled_from([4, 48]),
        "layers": st.sampled_from([[2, 2], [6, 12, 24, 16]]),
    },
    "unet++": {"channels": st.permutations([8, 16, 33, 64, 128])},
    "highresnet": {"features": st.sampled_from([4, 32]), "repeat": st.integers(1, 4)},
    "mednext": {"variant": st.sampled_from("SBML"), "features": st.sampled_from([8, 32])},
    "segresnet-ds": {
        "features": st.sampled_from([8, 32]),
        "blocks": st.sampled_from([[1, 1], [1, 2, 4, 4, 4]]),
    },
    "unetr": {"features": st.sampled_from([8, 32]), "hidden": st.sampled_from([96, 768])},
}


def job_of(model, dimensions=2, **options):
    task = TASK_OF[NETWORKS[model["name"]].gives]
    size = {"data_size": [64] * dimensions, "data_dimensions": dimensions}
    return make_job(task_name=task, model=model, **size | options)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(IMAGE_NETWORKS_IN), st.sampled_from([1, 4]), st.data())
def test_the_estimate_is_right_to_a_third(network, channels, data):
    name, dimensions = network
    options = {key: data.draw(values, key) for key, values in OPTIONS.get(name, {}).items()}
    job = job_of({"name": name, **options}, dimensions, data_channels=channels)
    numbers = model_size(job).each / 4
    small = 20_000  # numbers of norms and biases, which do not grow with the product of two levels
    assert numbers / 1.4 - small < about_model_megabytes(job) * 1e6 / 4 < numbers * 4 / 3 + small


@pytest.mark.parametrize(
    ("model", "dimensions", "data"),
    [
        ({"name": "cnn", "channels": [2048] * 8}, 3, {"data_size": [512] * 3}),
        ({"name": "unet", "channels": [2048] * 8, "num_res_units": 8}, 3, {"data_size": [256] * 3}),
        ({"name": "dynunet", "channels": [2048] * 8, "residual": True}, 2, {"data_size": [256] * 2}),
        ({"name": "attention-unet", "channels": [2048] * 8}, 3, {"data_size": [256] * 3}),
        ({"name": "vit", "features": 2048, "layers": 48, "heads": 1}, 2, {}),
        ({"name": "vit", "features": 2048, "layers": 1, "heads": 1, "patch": 2}, 3, {"data_size": [256] * 3}),
        ({"name": "vit", "features": 2048, "layers": 1, "heads": 1, "patch": 64}, 3, {"data_channels": 64}),
        ({"name": "segresnet", "features": 256}, 3, {}),
        ({"name": "swin-unetr", "features": 192}, 3, {}),
    ],
)
def test_a_network_that_no_machine_holds_is_no_job(model, dimensions, data):
    with pytest.raises(JobError, match=rf"\[model\] name: this '{model['name']}' has about .* GB"):
        job_of(model, dimensions, **data)


def test_what_a_package_says_of_the_size_of_its_network_is_not_believed(monkeypatch):
    monkeypatch.setitem(vars(NETWORKS), "_added", {"cnn": (NETWORKS["cnn"], "a package")})
    monkeypatch.setattr(NETWORKS["cnn"], "about_numbers", lambda *_: 1.0)
    job = job_of({"name": "cnn", "channels": [512, 512]})
    assert is_larger(job, 5.0)
    assert not is_larger(job, model_size(job).each / 1e6)
    with pytest.raises(JobError, match="2000 MB is the most"):
        check_model_size(job_of({"name": "cnn", "channels": [2048] * 8}, 3, data_size=[512] * 3))


def test_what_the_estimate_lets_through_is_counted_exactly():
    job = job_of({"name": "segresnet", "features": 170}, 3)
    assert about_model_megabytes(job) > LARGEST_MODEL_MB
    assert is_larger(job, LARGEST_MODEL_MB)
    with pytest.raises(JobError, match="2000 MB is the most"):
        check_model_size(job)
    check_model_size(job_of({"name": "segresnet", "features": 128}, 3))


def test_what_travels_once_counts_beside_what_travels_with_each_model():
    channels = [64, 128, 256]
    whole = model_size(job_of({"name": "cnn", "channels": channels})).each
    start = {"start": "given", "start_sha256": "ab" * 32}
    job = job_of({"name": "cnn", "channels": channels, "lora": {"rank": 1}, **start})
    size = model_size(job)
    assert size.once == {"ab" * 32: whole}
    assert size.each < 0.05 * whole
    assert is_larger(job, (whole - 1) / 1e6)
    all_trained = job_of({"name": "cnn", "channels": channels, **start})
    assert model_size(all_trained).once == {}
    assert model_size(all_trained).each == whole
