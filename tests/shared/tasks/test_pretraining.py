"""Learning from images alone: the papers' losses, states that add up, what is refused, where weights go."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from shared.batch import Batch
from shared.errors import JobError
from shared.networks.build import build_model, models_of
from shared.networks.start_weights import match
from shared.tasks import make_task
from shared.tasks.pretraining.losses import barlow_twins, nt_xent
from shared.tasks.pretraining.task import hidden_blocks
from tests.jobs import make_job

CONTRAST: dict[str, Any] = {
    "task_name": "pretraining",
    "task_block": None,
    "task_features": 8,
    "task_projections": 4,
    "model": {
        "encoder": {"name": "cnn", "channels": [4, 8], "norm": "group"},
        "projector": {"name": "mlp", "hidden": [8]},
    },
}

AUTOENCODER: dict[str, Any] = {
    "task_name": "pretraining",
    "task_method": "autoencoder",
    "task_block": None,
    "task_features": 6,
    "task_noise": 0.3,
    "task_sparsity": 0.1,
    "model": {
        "encoder": {"name": "cnn", "channels": [4, 8], "norm": "group"},
        "decoder": {"name": "generator", "channels": [8, 16]},
    },
}
BELIEF: dict[str, Any] = {
    "task_name": "pretraining",
    "task_method": "contrastive-divergence",
    "task_block": None,
    "model": {"name": "belief-network", "hidden": [12, 5]},
    "job_rounds": 4,
}
PRIVATE = {"mechanism": "dp-sgd", "noise_multiplier": 1.0}


def batch_of(images: Tensor) -> Batch:
    keys = [str(number) for number in range(len(images))]
    return Batch({"image": images}, [f"p{number // 2}" for number in range(len(images))], keys=keys)


def drawn(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))


def test_simclr_is_the_cross_entropy_of_the_twin_among_all_others() -> None:
    first, second = drawn(3, 5), drawn(3, 5) + 0.1 * drawn(15).view(3, 5)
    views = functional.normalize(torch.cat([first, second]), dim=1)
    losses = []
    for own in range(6):
        twin = (own + 3) % 6
        weights = {other: torch.exp(views[own] @ views[other] / 0.3) for other in range(6) if other != own}
        losses.append(-torch.log(weights[twin] / sum(weights.values())))
    torch.testing.assert_close(nt_xent(first, second, 0.3), torch.stack(losses).mean())


def test_barlow_twins_is_the_distance_of_the_cross_correlation_from_the_identity() -> None:
    first, second = drawn(40, 3), drawn(40, 3) + 0.5 * drawn(120).view(40, 3)
    correlation = torch.from_numpy(np.corrcoef(first.T, second.T)[:3, 3:]).float()
    diagonal = (1 - correlation.diagonal()).square().sum()
    beside = correlation.square().sum() - correlation.diagonal().square().sum()
    torch.testing.assert_close(
        barlow_twins(first, second, 0.02), diagonal + 0.02 * beside, rtol=1e-4, atol=1e-5
    )


@given(
    st.lists(st.integers(4, 20), min_size=2, max_size=3),
    st.floats(0.05, 0.95),
    st.integers(1, 2),
    st.integers(0, 9),
)
def test_a_share_of_the_blocks_is_hidden_and_some_pixel_is_not(
    shape: list[int], share: float, block: int, seed: int
) -> None:
    hidden = hidden_blocks(shape, share, block, seed)
    assert hidden.shape == (1, *shape)
    assert hidden.any()
    assert not hidden.all()
    assert torch.equal(hidden, hidden_blocks(shape, share, block, seed))
    corner = hidden[0][tuple(slice(block) for _ in shape)]
    assert corner.all() or not corner.any()


def test_what_is_hidden_is_not_seen_and_alone_counts() -> None:
    task = make_task(make_job(task_name="pretraining"))
    batch = task.prepare(batch_of(drawn(2, 1, 16, 16)), 1)
    hidden = batch["hidden"]
    models = models_of(build_model(task.job))
    other = batch.plus(image=torch.where(hidden, 100 + batch["image"], batch["image"]))
    one, two = (task.predict(models, own)["rebuilt"] for own in (batch, other))
    assert torch.equal(one, two)
    (phase,) = task.phases()
    loss = phase.loss(models, batch)
    rebuilt = task.forward(models, batch)["rebuilt"]
    for number in range(2):
        expected = (rebuilt - batch["image"])[number][hidden[number]].square().mean()
        torch.testing.assert_close(loss[number], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"task_name": "pretraining"},
        *({**CONTRAST, "task_method": how} for how in ("simclr", "barlow-twins")),
        AUTOENCODER,
        BELIEF,
    ],
)
def test_what_sites_add_up_is_what_all_images_together_give(options: dict[str, Any]) -> None:
    task = make_task(make_job(**options))
    models = models_of(build_model(task.job))
    batch = task.prepare(batch_of(drawn(12, 1, 16, 16)), 1)
    sites = [task.metrics() for _ in range(3)]
    whole = task.metrics()
    for places, metrics in [([0, 1, 2, 3], sites[0]), ([4, 5], sites[1]), (range(6, 12), sites[2])]:
        part = batch.chosen(list(places))
        predicted = task.predict(models, part)
        task.update(metrics, predicted, part, task.sample_losses(models, part, predicted))
    predicted = task.predict(models, batch)
    task.update(whole, predicted, batch, task.sample_losses(models, batch, predicted))
    merged = task.metrics()
    for site in sites:
        merged.merge(site.pack())
    assert merged.compute() == pytest.approx(whole.compute(), abs=1e-6)
    if task.options.compares:
        views = torch.cat([predicted["first"], predicted["second"]])
        units = functional.normalize(views.double(), dim=1)
        two = ~torch.eye(12, dtype=torch.bool).repeat(2, 2)  # views of two images, none of one
        likeness = float((units @ units.T)[two].mean())
        told = whole.compute()
        assert told["likeness_of_images"] == pytest.approx(likeness, abs=1e-6)
        assert told["contrast"] == pytest.approx(told["likeness_of_views"] - likeness, abs=1e-6)


def test_one_image_is_like_no_other() -> None:
    task = make_task(make_job(**{**CONTRAST, "task_method": "simclr"}))
    models, batch = models_of(build_model(task.job)), task.prepare(batch_of(drawn(1, 1, 16, 16)), 1)
    metrics, predicted = task.metrics(), task.predict(models, batch)
    task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    assert np.isnan(metrics.compute()["contrast"])


def test_two_views_of_an_image_move_it_and_are_seeded() -> None:
    task = make_task(make_job(**{**CONTRAST, "task_method": "simclr"}))
    first, again, later = (
        task.prepare(batch_of(drawn(3, 1, 16, 16)), seed)["view_seeds"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert len(set(first.flatten().tolist())) == 6
    alone = task.prepare(batch_of(drawn(3, 1, 16, 16)).chosen([2]), 1)["view_seeds"]
    assert torch.equal(alone[0], first[2])


@pytest.mark.parametrize("method", ["simclr", "barlow-twins"])
def test_private_training_can_not_compare_patients(method: str) -> None:
    with pytest.raises(JobError, match="compares the images of a batch with each other"):
        make_job(**{**CONTRAST, "task_method": method}, strategy_min_patients=1, privacy=PRIVATE)
    make_job(task_name="pretraining", strategy_min_patients=1, privacy=PRIVATE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_name": "pretraining", "task_temperature": 0.1}, "temperature: is for method = 'simclr'"),
        ({"task_name": "pretraining", "task_block": 9}, "9 pixels are too many for images of"),
        ({**CONTRAST, "task_method": "simclr", "training_batch_size": 1}, "must be 2 at least"),
        ({**CONTRAST, "task_method": "simclr", "task_hidden": 0.5}, "hidden: is for method = 'mae'"),
        ({**BELIEF, "model": {"name": "cnn"}}, "trains a 'belief-network'"),
        ({**BELIEF, "data_intensity": "minmax"}, "must be 'zscore'"),
        ({**BELIEF, "strategy_min_patients": 1, "privacy": PRIVATE}, "must be one layer with 'dp-sgd'"),
        ({**BELIEF, "training_weight_decay": 0.1}, "must be 0 with several layers"),
        ({**AUTOENCODER, "data_patch": [8, 8]}, "looks at whole images"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as refused:
        make_job(**options)
    assert said in str(refused.value)


def test_an_encoder_starts_a_classification_and_a_map_a_segmentation() -> None:
    encoder = build_model(make_job(**{**CONTRAST, "task_method": "simclr"}), seed=3)
    classifier = build_model(
        make_job(task_name="classification", model={"name": "cnn", "channels": [4, 8], "norm": "group"})
    )
    found = match(classifier, dict(encoder.state_dict()))
    assert found.fresh == ["head"]
    assert torch.equal(found.taken["levels.0.weight"], encoder.state_dict()["encoder.levels.0.weight"])
    maps = build_model(make_job(task_name="pretraining"), seed=3)
    norm = {"name": "unet", "channels": [4, 8], "num_res_units": 0, "norm": "instance"}
    segmenter = build_model(make_job(task_name="segmentation", model=norm))
    taken = match(segmenter, dict(maps.state_dict()))
    assert len(taken.missing) <= 4


def test_an_autoencoder_sees_noise_is_judged_without_it_and_pays_for_its_numbers() -> None:
    task = make_task(make_job(**AUTOENCODER))
    models = models_of(build_model(task.job))
    batch = task.prepare(batch_of(drawn(2, 1, 16, 16)), 1)
    noise = batch["noise"]
    assert float(noise.std()) == pytest.approx(0.3, rel=0.1)
    (phase,) = task.phases()
    features = models["encoder"](batch["image"] + noise)
    rebuilt = models["decoder"](features)
    expected = (rebuilt - batch["image"]).square().flatten(1).mean(1) + 0.1 * features.abs().mean(1)
    torch.testing.assert_close(phase.loss(models, batch), expected)


@pytest.mark.parametrize(("rounds", "depth"), [(0.0, 0), (1.9, 0), (2.0, 1), (3.9, 1), (4.0, 1)])
def test_the_gradient_is_contrastive_divergence_of_one_layer(rounds: float, depth: int) -> None:
    task = make_task(make_job(**BELIEF))
    model = build_model(task.job, seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = task.prepare(batch_of(drawn(3, 1, 16, 16)), 1).at(rounds)
    (phase,) = task.phases()
    phase.loss({"model": model}, batch).sum().backward()
    layer, below = model.layers[depth], model.below[depth].weight
    with torch.no_grad():
        values = model.up(batch["image"], depth)
        sources = [torch.Generator().manual_seed(seed) for seed in batch["chain_seeds"].tolist()]
        after = model.chain(values, depth, 1, sources)
        alone = below[:, 0] if depth == 0 else below[:, 0].sigmoid()
        expected = torch.zeros_like(layer.weight)
        for own, sign in ((values, -1), (after, 1)):
            expected += sign * layer(own - alone).sigmoid().T @ (own - alone)
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-4, atol=1e-5)
    assert below.grad is not None
    assert below.grad.any()
    others = [own for number, own in enumerate(model.layers) if number != depth]
    assert all(own.weight.grad is None or not own.weight.grad.any() for own in others)


def test_a_machine_learns_two_patterns() -> None:
    """Images of two kinds: after some steps it draws them again."""
    task = make_task(make_job(**{**BELIEF, "model": {"name": "belief-network", "hidden": [8]}}))
    model = build_model(task.job, seed=2)
    kinds = torch.tensor([0, 1] * 20)
    pattern = torch.sign(drawn(1, 1, 16, 16))
    patterns = torch.cat([pattern, -pattern])
    batch = batch_of(patterns[kinds])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    (phase,) = task.phases()
    before = task.predict({"model": model}, batch)["errors"][:, 0].mean()
    for step in range(60):
        optimizer.zero_grad()
        phase.loss({"model": model}, task.prepare(batch, step)).mean().backward()
        optimizer.step()
    after = task.predict({"model": model}, batch)["errors"][:, 0].mean()
    assert after < 0.3 * before
