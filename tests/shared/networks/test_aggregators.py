"""Aggregators: padding changes nothing, attention is a share, and the formulas are those of the papers."""

import math
from typing import Any

import pytest
import torch
from monai.networks.nets import MILModel
from torch import Tensor, nn

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.networks.aggregator_modules import ATTENTION, CLUSTERS, OUTPUT, places
from shared.networks.build import build_model
from shared.tasks.stacks import padded
from tests.jobs import make_job

LENGTH, OUTPUTS = 6, 3
AGGREGATORS = [
    (name, kind)
    for name, options in NETWORKS.items()
    if options.dimensions == {0}
    for kind in sorted(options.stacks - {"one", "views"})
]


def bag_job(name: str, kind: str = "bag", **options: Any) -> JobSpec:
    """Return a job that classifies bags or series of vectors."""
    order = {"order": "month"} if kind == "series" else {}
    return make_job(
        task_name="classification",
        task_classes=["a", "b", "c"],
        task_stack={"kind": "vectors", "length": LENGTH, "scaling": "none", **order},
        data={},
        model={"name": name, "hidden": [8], **options},
    )


def network(name: str, kind: str = "bag", **options: Any) -> nn.Module:
    return build_model(bag_job(name, kind, **options), seed=1)


def bags(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, LENGTH, generator=generator) for size in sizes]


@pytest.mark.parametrize(("name", "kind"), AGGREGATORS)
def test_what_is_padded_changes_nothing(name: str, kind: str) -> None:
    model, samples = network(name, kind).eval(), bags(3, 7, 1)
    instances, there = padded(samples)
    together = model(instances.masked_fill(~there[..., None], 9.0), there)
    for number, sample in enumerate(samples):
        alone = model(*padded([sample]))
        torch.testing.assert_close(together[OUTPUT][number], alone[OUTPUT][0])
        if ATTENTION in alone:
            kept = together[ATTENTION][number, : len(sample)]
            torch.testing.assert_close(kept, alone[ATTENTION][0])
            assert kept.sum().item() == pytest.approx(1)
            assert not together[ATTENTION][number, len(sample) :].any()


@pytest.mark.parametrize(("name", "kind"), AGGREGATORS)
def test_every_parameter_learns_from_bags_of_several_sizes(name: str, kind: str) -> None:
    model = network(name, kind)
    found = model(*padded(bags(3, 7, 1)))
    (found[OUTPUT].square().sum() + found.get(CLUSTERS, torch.zeros(1)).sum()).backward()
    # A score that all instances get alike moves nothing: that is the bias behind the softmax.
    still = {tensor for tensor, own in model.named_parameters() if not own.grad.any()}
    assert still <= {"scores.score.bias"}


@pytest.mark.parametrize(("name", "kind"), AGGREGATORS)
def test_only_the_order_of_a_series_means_something(name: str, kind: str) -> None:
    model, (sample,) = network(name, kind).eval(), bags(5)
    forwards, backwards = (model(*padded([one]))[OUTPUT] for one in (sample, sample.flip(0)))
    ordered = kind == "series" and name not in ("mean-pooling", "max-pooling", "attention-mil")
    assert torch.allclose(forwards, backwards, atol=1e-5) != ordered


@pytest.mark.parametrize(
    ("name", "mode"), [("mean-pooling", "mean"), ("max-pooling", "max"), ("attention-mil", "att")]
)
def test_a_bag_without_padding_is_judged_as_by_monai(name: str, mode: str) -> None:
    options = {"attention": 2048, "gated": False} if mode == "att" else {}
    own = network(name, **options).eval()
    other = MILModel(OUTPUTS, mil_mode=mode, backbone=own.layers, backbone_num_features=8).eval()
    other.myfc.load_state_dict(own.head.state_dict())
    if mode == "att":
        other.attention[0].load_state_dict(own.scores.tanh.state_dict())
        other.attention[2].load_state_dict(own.scores.score.state_dict())
    samples = torch.stack(bags(4, 4))
    expected = other.calc_head(own.layers(samples))
    torch.testing.assert_close(own(samples, torch.ones(2, 4, dtype=torch.bool))[OUTPUT], expected)


def test_gated_attention_is_that_of_the_paper() -> None:
    model, (sample,) = network("attention-mil", hidden=[]).eval(), bags(4)
    tanh, gate, score = model.scores.tanh, model.scores.gate, model.scores.score
    raw = [score(torch.tanh(tanh(h)) * torch.sigmoid(gate(h))).item() for h in sample]  # equation 9
    shares = [math.exp(one) / sum(map(math.exp, raw)) for one in raw]
    found = model(*padded([sample]))
    assert found[ATTENTION][0].tolist() == pytest.approx(shares, rel=1e-5)
    whole = sum(share * h for share, h in zip(shares, sample, strict=True))
    torch.testing.assert_close(found[OUTPUT][0], model.head(whole))


def test_clusters_are_told_apart_by_those_with_most_and_least_attention() -> None:
    model, (sample,) = network("clam", hidden=[], picked=2, cluster_weight=1.0).eval(), bags(5)
    found = model(*padded([sample, *bags(2, 9)]))
    attention = model.scores(sample[None], torch.ones(1, 5, dtype=torch.bool))[0].softmax(dim=0)
    evidence = model.clusters(sample).view(5, OUTPUTS, 2).log_softmax(dim=2)
    for number in range(OUTPUTS):
        order = attention[:, number].argsort(descending=True)
        most, least = order[:2], order[-2:]
        inside = -(evidence[most, number, 1].mean() + evidence[least, number, 0].mean()) / 2
        outside = -evidence[most, number, 0].mean()
        torch.testing.assert_close(found[CLUSTERS][0, number], torch.stack([inside, outside]))
    picked = attention[:, int(found[OUTPUT][0].argmax())]
    torch.testing.assert_close(found[ATTENTION][0, :5], picked)


def test_places_of_a_series_differ_and_do_not_depend_on_its_length() -> None:
    assert torch.equal(places(4, 8), places(9, 8)[:4])
    assert torch.cdist(places(50, 8), places(50, 8)).fill_diagonal_(1).min() > 0.1


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "clam"])
def test_a_network_is_refused_where_the_order_is_not_what_it_needs(name: str) -> None:
    kind = "series" if name == "clam" else "bag"
    with pytest.raises(JobError, match=f"'{name}' is not for classification of a {kind} of vectors"):
        bag_job(name, kind)


def test_heads_divide_the_features() -> None:
    with pytest.raises(JobError, match=r"\[model\] heads: 8 features of an instance"):
        bag_job("transformer", heads=3)


def test_a_network_of_images_sees_no_bag() -> None:
    with pytest.raises(JobError, match="'mlp' is not for classification of a bag of vectors"):
        bag_job("mlp")


def frames_network() -> nn.Module:
    job = make_job(
        task_name="classification",
        task_stack={"kind": "series"},
        model={"name": "conv-lstm", "channels": [4], "features": 4},
        data={"size": [8, 8], "channels": 2},
    )
    return build_model(job, seed=1).eval()


def test_frames_that_are_padded_change_nothing() -> None:
    model, generator = frames_network(), torch.Generator().manual_seed(0)
    series = [torch.randn(length, 2, 8, 8, generator=generator) for length in (3, 5, 1)]
    together = model(*padded(series))[OUTPUT]
    for number, one in enumerate(series):
        torch.testing.assert_close(together[number], model(*padded([one]))[OUTPUT][0])
    assert not torch.allclose(together[0], model(*padded([series[0].flip(0)]))[OUTPUT][0], atol=1e-4)


def test_a_map_is_remembered_as_the_paper_says() -> None:
    model, generator = frames_network(), torch.Generator().manual_seed(0)
    frames = torch.randn(2, 2, 8, 8, generator=generator)
    hidden = cell = torch.zeros(1, 4, 4, 4)
    for frame in frames:
        enter, forget, leave, new = model.gates(torch.cat([model.levels(frame[None]), hidden], 1)).chunk(4, 1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
    expected = model.head(hidden.mean((2, 3)))
    torch.testing.assert_close(model(*padded([frames]))[OUTPUT], expected)
