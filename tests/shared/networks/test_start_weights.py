"""Weights that a job starts from: matched by name and shape, put in, and known by their digest."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of, match
from shared.networks.torch_files import read_torch_weights
from shared.start_files import read_start, weights_in, write_start
from shared.wire.packed_model import Layout
from tests.jobs import make_job

CHANNELS = [8, 16]


def network_job(**options: Any) -> JobSpec:
    model = {"name": "cnn", "channels": CHANNELS, "norm": "group"} | options.pop("model", {})
    return make_job(task_name="classification", model=model, **options)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    layout = Layout.of(model)
    return {name: tensor.clone() for name, tensor in layout.state_dict(layout.pack(model)).items()}


def started(weights: dict[str, Tensor], **options: Any) -> JobSpec:
    digest = options.pop("digest", None) or digest_of(match(build_model(network_job()), weights).taken)
    return network_job(model={"start": "given", "start_sha256": digest, **options})


@given(st.sampled_from(["", "module.", "model.net.", "levels."]), st.permutations(range(10)))
def test_all_tensors_are_found_whatever_is_in_front_and_in_whatever_order(front: str, order: Any) -> None:
    own = tensors_of(build_model(network_job(), seed=3))
    names = list(own)
    given_ = {front + names[place]: own[names[place]] for place in order if place < len(names)}
    found = match(build_model(network_job()), given_)
    assert (found.missing, found.unused, found.fresh) == ([], [], [])
    assert all(torch.equal(found.taken[name], own[name]) for name in own)
    assert digest_of(found.taken) == digest_of(own)


def test_an_encoder_alone_is_matched_and_the_rest_is_said() -> None:
    own = tensors_of(build_model(network_job(), seed=3))
    encoder = {f"backbone.{name.removeprefix('levels.')}": own[name] for name in own if "head" not in name}
    found = match(build_model(network_job()), {**encoder, "backbone.fc.weight": torch.ones(1000, 16)})
    assert found.missing == ["head.1.weight", "head.1.bias"]
    assert found.fresh == ["head"]
    assert found.unused == ["backbone.fc.weight"]
    assert all(torch.equal(found.taken[name], own[name]) for name in own if "head" not in name)


def test_a_head_for_other_classes_is_drawn() -> None:
    other = tensors_of(build_model(network_job(task_classes=["a", "b", "c"]), seed=3))
    found = match(build_model(network_job()), other)
    assert found.fresh == ["head"]
    assert found.unused == ["head.1.weight", "head.1.bias"]


@pytest.mark.parametrize("lost", [math.nan, math.inf, 1e300])
def test_weights_that_are_not_finite_are_refused(lost: float) -> None:
    model = build_model(network_job())
    weights = tensors_of(model)
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], lost, dtype=torch.float64)
    with pytest.raises(JobError, match=f"{name} holds what is not a finite number"):
        match(model, weights)


@pytest.mark.parametrize(
    "other",
    [
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.flatten(1).to_sparse(),
        lambda tensor: torch.nested.nested_tensor([tensor]),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to(torch.float8_e4m3fn),
    ],
)
def test_tensors_of_other_kinds_are_none_of_the_network(other: Any) -> None:
    """A file of PyTorch may hold them, though nothing in it is run."""
    model = build_model(network_job())
    weights = tensors_of(model)
    name = next(name for name, tensor in weights.items() if tensor.ndim > 1)
    found = match(model, weights | {name: other(weights[name])})
    assert found.missing == [name]


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(JobError, match="nothing in it fits the network"):
        match(build_model(network_job()), {"weight": torch.ones(3, 3)})


def test_what_fits_in_two_ways_is_refused() -> None:
    own = tensors_of(build_model(network_job(), seed=3))
    twice = {f"{net}.{name}": tensor for net in ("student", "teacher") for name, tensor in own.items()}
    with pytest.raises(JobError, match="in more than one way"):
        match(build_model(network_job()), twice)


def test_a_network_starts_from_them_and_draws_the_rest() -> None:
    weights = tensors_of(build_model(network_job(), seed=3))
    encoder = {name: tensor for name, tensor in weights.items() if "head" not in name}
    job = started(encoder, fresh=["head"])
    model = build_model(job, files={job.model.start_sha256: weights})
    drawn = build_model(network_job())
    for name, tensor in tensors_of(model).items():
        expected = weights[name] if "head" not in name else tensors_of(drawn)[name]
        assert torch.equal(tensor, expected), name


def test_half_precision_is_the_same_start() -> None:
    weights = {name: tensor.half() for name, tensor in tensors_of(build_model(network_job(), seed=3)).items()}
    assert digest_of(weights) == digest_of({name: tensor.float() for name, tensor in weights.items()})
    job = started(weights)
    build_model(job, files={job.model.start_sha256: weights})


def test_another_file_is_refused() -> None:
    weights = tensors_of(build_model(network_job(), seed=3))
    job = started(weights)
    weights["head.1.bias"] += 1e-6
    with pytest.raises(JobError, match="not the one that start_sha256 names"):
        build_model(job, files={job.model.start_sha256: weights})


def test_what_is_neither_given_nor_drawn_is_refused_with_what_to_write() -> None:
    weights = tensors_of(build_model(network_job(), seed=3))
    del weights["head.1.weight"], weights["head.1.bias"]
    job = started(weights)
    with pytest.raises(JobError, match=r"fresh = \['head'\]"):
        build_model(job, files={job.model.start_sha256: weights})


def test_weights_of_batch_norm_do_not_become_those_of_another_norm() -> None:
    weights = tensors_of(build_model(network_job(model={"norm": "batch"}), seed=3))
    job = started(weights)
    with pytest.raises(JobError, match="statistics of batch norm"):
        build_model(job, files={job.model.start_sha256: weights})
    frozen = network_job(
        model={"norm": "frozen", "start": "given", "start_sha256": digest_of(weights)}, update_parts=["head"]
    )
    model = build_model(frozen, files={digest_of(weights): weights})
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert [name for name, one in model.named_parameters() if one.requires_grad] == [
        "head.1.weight",
        "head.1.bias",
    ]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"start": "given"}, "start_sha256: is missing"),
        ({"start": "../given", "start_sha256": "0" * 64}, r"\[model\] start"),
        ({"start_sha256": "0" * 64}, "is about start weights, and there is no start"),
        ({"fresh": ["head"]}, "is about start weights, and there is no start"),
        ({"start": "given", "start_sha256": "0" * 63}, r"\[model\] start_sha256"),
    ],
)
def test_wrong_keys_are_named(model: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        network_job(model=model)


def test_a_job_without_a_start_keeps_its_digest() -> None:
    assert "start" not in network_job().canonical()
    assert "fresh" not in network_job().canonical()


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("pwned",))


def test_a_file_of_pytorch_is_read_as_nothing_but_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tensors_of(build_model(network_job(), seed=3))
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "checkpoint.pt")
    assert weights_in(tmp_path / "checkpoint.pt").keys() == weights.keys()
    bundle = tmp_path / "bundle"
    (bundle / "models").mkdir(parents=True)
    torch.save(weights, bundle / "models" / "model.pt")
    assert weights_in(bundle).keys() == weights.keys()

    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(JobError, match="can't be read as weights"):
        weights_in(tmp_path / "evil.pt")
    assert "pwned" not in capsys.readouterr().out
    for content in (b"", b"no weights", b"PK\x03\x04"):
        with pytest.raises(JobError, match="can't be read as weights"):
            read_torch_weights(content, "here")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(JobError, match="holds no tensors by name"):
        weights_in(tmp_path / "list.pt")


def test_files_are_new_and_named_where_they_can_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    weights = tensors_of(build_model(network_job(), seed=3))
    write_start(file, weights)
    assert digest_of(read_start(file)) == digest_of(weights)
    with pytest.raises(JobError, match="nothing is overwritten"):
        write_start(file, weights)
    with pytest.raises(JobError, match="is missing, and the job starts from it"):
        read_start(tmp_path / "b.safetensors")
    file.write_bytes(b"broken")
    with pytest.raises(JobError, match="can't be read as weights"):
        read_start(file)
    with pytest.raises(JobError, match="neither the folder of a run"):
        weights_in(tmp_path)
