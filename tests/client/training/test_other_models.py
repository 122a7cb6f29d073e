"""What strategies do with further models in each step, against the same written down in PyTorch."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import nn

from client.training.loop import LocalTraining
from shared.errors import WardroundError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.networks.features import features, last_features
from shared.strategies.apfl import Mixture
from shared.strategies.coral import Coral, MomentAlignment
from shared.strategies.moon import ModelContrast
from shared.strategies.vectors import Steps
from shared.tasks import make_task
from shared.wire.packed_model import Layout
from tests.jobs import make_job
from tests.shared.strategies.test_own_parts import samples_of

ONE_STEP = {
    "task_name": "classification",
    "data_augment": [],
    "training_optimizer": "sgd",
    "training_momentum": 0.0,
    "training_weight_decay": 0.0,
    "training_batch_size": 10,
    "training_local_epochs": None,
    "training_local_steps": 1,
    "training_learning_rate": 0.5,
}


class Trainer(LocalTraining):
    """Trains on ten images of two classes, all of them in each step."""

    def __init__(self, job: JobSpec, model: nn.Module) -> None:
        self.task, self.samples = make_task(job), samples_of(job)
        super().__init__(model, self.task, self.samples, job, site="a", device=torch.device("cpu"))

    def losses(self, model: nn.Module) -> torch.Tensor:
        """Return the loss of each image of the step, (B,), as a model has them."""
        batch = self.task.prepare(self.samples.batch(range(10)), 0)
        return self.task.phases()[0].loss({"model": model}, batch)


def mixtures() -> Iterator[tuple[str, dict[str, object]]]:
    yield "plain", {}
    yield "decay", {"training_weight_decay": 0.1}
    yield "clipped", {"training_gradient_clip": 0.01}


@pytest.mark.parametrize(("kind", "options"), mixtures())
def test_a_mixture_learns_at_its_own_point_with_its_own_statistics(kind: str, options) -> None:
    job = make_job(**ONE_STEP | options, model_norm="batch")
    model, plain, mixed = build_model(job), build_model(job), build_model(job, seed=1)
    layout, share = Layout.of(model), 0.25
    own, shared = layout.pack(mixed), layout.pack(model)
    mixture, trained = Mixture(own.copy(), share, adaptive=True), slice(layout.parameters)
    Trainer(job, model).run(1, Steps(beside=mixture))
    Trainer(job, plain).run(1)
    assert (layout.pack(model) == layout.pack(plain)).all()  # the shared model is none the wiser

    point = own.copy()
    point[trained] = share * own[trained] + (1 - share) * shared[trained]
    layout.unpack(point, mixed)
    loss = Trainer(job, deepcopy(mixed)).losses(mixed.train()).mean()
    slope = torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(mixed.parameters()))])
    if kind == "clipped":
        slope *= 0.01 / slope.norm()
    if kind == "decay":
        slope += 0.1 * torch.from_numpy(point[trained])
    expected = torch.from_numpy(own[trained]) - 0.5 * share * slope
    found = torch.from_numpy(mixture.model)
    torch.testing.assert_close(found[trained], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found[layout.parameters :], torch.from_numpy(layout.pack(mixed))[layout.parameters :]
    )
    way = torch.from_numpy(own[trained] - shared[trained])
    assert float(mixture.share) == pytest.approx(min(max(share - 0.5 * float(way @ slope), 0), 1), abs=1e-4)


def test_a_contrast_of_features_is_added_to_the_loss_of_each_image() -> None:
    job = make_job(**ONE_STEP)
    model, towards, away = (build_model(job, seed=seed) for seed in (1, 2, 3))
    layout, first = Layout.of(model), deepcopy(model)
    contrast = ModelContrast(layout.pack(towards), layout.pack(away), 2.0, 0.5)
    trainer = Trainer(job, model)
    found = trainer.run(1, Steps(contrast=contrast)).loss

    batch = trainer.task.prepare(trainer.samples.batch(range(10)), 0)
    seen = []
    for network in (first.train(), towards.eval(), away.eval()):
        with last_features([network]) as one:
            losses = trainer.losses(network)
            seen.append(one[0])
            if network is first:
                own = losses
    loss = (own + contrast.losses(seen[0], seen[1].detach(), seen[2].detach())).mean()
    assert found == pytest.approx(loss.item(), rel=1e-4)
    slopes = torch.autograd.grad(loss, list(first.parameters()))
    for after, before, slope in zip(model.parameters(), first.parameters(), slopes, strict=True):
        torch.testing.assert_close(after, before - 0.5 * slope, rtol=1e-4, atol=1e-5)
    assert len(batch) == 10


def test_networks_of_maps_have_the_features_of_their_coarsest_level() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(3, 1, 3, stride=2))
    images = torch.randn(4, 1, 9, 9)
    with features([network]) as seen:
        network(images)
    torch.testing.assert_close(seen[0], network[0](images).mean(dim=(2, 3)))


def test_a_network_without_features_is_refused() -> None:
    job = make_job(**ONE_STEP)
    model = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, -1)), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    model.append(nn.BatchNorm1d(2))
    state = Layout.of(model).pack(model)
    with pytest.raises(WardroundError, match="no features for each sample"):
        Trainer(job, model).run(1, Steps(contrast=ModelContrast(state, state, 1.0, 0.5)))


def test_an_alignment_of_features_is_added_to_the_loss_of_each_image() -> None:
    job = make_job(**ONE_STEP)
    model = build_model(job, seed=1)
    first, options = deepcopy(model), Coral(name="coral", mu=3.0, features=4)
    goal = torch.rand(options.moments, generator=torch.Generator().manual_seed(0)).numpy() / 4
    trainer = Trainer(job, model)
    found = trainer.run(1, Steps(alignment=MomentAlignment(goal, None, options))).loss
    with features([first.train()]) as seen:
        own = trainer.losses(first)
        beside = MomentAlignment(goal, None, options).losses(seen[0])
    loss = (own + beside).mean()
    assert found == pytest.approx(loss.item(), rel=1e-4)
    slopes = torch.autograd.grad(loss, list(first.parameters()))
    for after, before, slope in zip(model.parameters(), first.parameters(), slopes, strict=True):
        torch.testing.assert_close(after, before - 0.5 * slope, rtol=1e-3, atol=1e-4)
