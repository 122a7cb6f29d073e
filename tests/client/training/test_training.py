"""Local training: what a round does to a model, step by step."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from client.training.loop import LocalTraining, TrainingError
from client.training.phases import schedule_factor
from client.training.sample_order import steps_of
from shared.batch import Batch
from shared.strategies.vectors import Steps
from shared.tasks import make_task

CPU = torch.device("cpu")


class Points:
    """Images of two pixels and their classes; remembers which were asked for."""

    on_disk = False

    def __init__(self, count: int, scale: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = scale * torch.randn(count, 1, 1, 2, generator=generator)
        self.targets = (self.images[:, 0, 0, 0] > 0).long()
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices, *, augment_seed=None):
        self.asked.append(list(indices))
        return Batch({"image": self.images[indices], "label": self.targets[indices]}, ["p"] * len(indices))


def linear() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))


@pytest.fixture
def train(tiny_job):
    """Return a function that trains a linear classifier for a round; returns the model and what was done."""

    def run(points, *, round_=1, mu=None, model=None, site="alpha", statistics=None, **changes):
        classification = {
            "task_name": "classification",
            "training_optimizer": "sgd",
            "training_momentum": 0.0,
        }
        job = tiny_job(**(classification | changes))
        model = model or linear()
        training = LocalTraining(model, make_task(job, statistics), points, job, site=site, device=CPU)
        if mu is None:
            return model, training.run(round_)
        start = training.place(weights(model).numpy())
        return model, training.run(round_, Steps(lambda now: mu * (now - start)))

    return run


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_same_round_gives_the_same_bits_and_another_does_not(train):
    models = [
        train(Points(12), round_=round_, site=site)[0]
        for round_, site in [(1, "a"), (1, "a"), (2, "a"), (1, "b")]
    ]
    one, again, later, elsewhere = (weights(model) for model in models)
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert not torch.equal(one, elsewhere)


def test_training_does_not_disturb_the_global_random_state(train):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(2, 2))
    before = torch.get_rng_state()
    train(Points(6), model=model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (30, 10, [10, 10, 10]),
        (34, 10, [12, 11, 11]),  # as many steps as with 30: their number tells no more than the rounded one
        (25, 10, [9, 8, 8]),
        (25, 1, [1] * 25),
        (27, 1, [2, 2] + [1] * 23),
        (3, 2, [3]),  # batch norm can't train on one image
        (1, 2, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_an_epoch_shows_every_image_once(train, count, batch, sizes):
    points = Points(count)
    _, trained = train(points, training_batch_size=batch)
    assert [len(indices) for indices in points.asked] == sizes
    assert sorted(index for indices in points.asked for index in indices) == list(range(count))
    assert trained.steps == len(sizes)


def test_steps_go_on_into_the_next_epoch(train, tiny_job):
    points = Points(20)
    _, trained = train(points, training_local_steps=5, training_local_epochs=None, training_batch_size=10)
    assert trained.steps == len(points.asked) == 5
    assert (
        sorted(points.asked[0] + points.asked[1])
        == sorted(points.asked[2] + points.asked[3])
        == list(range(20))
    )
    assert points.asked[:2] != points.asked[2:4]  # shuffled anew
    assert steps_of(tiny_job(training_local_epochs=3, training_batch_size=10).training, 20, 10, 1) == 6


def test_the_proximal_gradient_is_autograds(train):
    points, mu, rate = Points(8), 0.7, 0.1
    changes = {"training_learning_rate": rate, "training_batch_size": 4}
    model, _ = train(points, mu=mu, **changes)

    expected = linear()
    start = [parameter.detach().clone() for parameter in expected.parameters()]
    for indices in points.asked:
        loss = nn.functional.cross_entropy(expected(points.images[indices]), points.targets[indices])
        pull = sum(((p - s) ** 2).sum() for p, s in zip(expected.parameters(), start, strict=True))
        expected.zero_grad()
        (loss + mu / 2 * pull).backward()
        with torch.no_grad():
            for parameter in expected.parameters():
                parameter.sub_(rate * parameter.grad)
    torch.testing.assert_close(weights(model), weights(expected))
    assert not torch.allclose(weights(model), weights(train(Points(8), **changes)[0]))


def test_a_gradient_is_clipped_to_its_norm(train):
    changes = {"training_batch_size": 10, "training_learning_rate": 1.0}  # a pass is one step
    before = weights(linear())
    free, _ = train(Points(8, scale=100.0), **changes)
    clipped, _ = train(Points(8, scale=100.0), training_gradient_clip=0.5, **changes)
    assert (weights(free) - before).norm() > 1
    assert (weights(clipped) - before).norm() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_learning_rate_follows_the_global_round(tiny_job, schedule):
    training = tiny_job(training_schedule=schedule, training_warmup_rounds=2).training
    factors = [schedule_factor(training, 10, position) for position in (0, 1, 2, 6, 10)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[1] == pytest.approx(0.5)
    assert factors[2] == pytest.approx(1.0)
    assert factors[3] == pytest.approx({"constant": 1.0, "linear": 0.5, "cosine": 0.5}[schedule])
    assert factors[4] == pytest.approx(1.0 if schedule == "constant" else 0.0)
    falling = [schedule_factor(training, 10, 2 + step / 10) for step in range(81)]
    assert falling == sorted(falling, reverse=True)


def test_a_later_round_makes_smaller_steps(train):
    changes = {"job_rounds": 10, "training_schedule": "cosine"}
    before = weights(linear())
    moved = [
        (weights(train(Points(8), round_=round_, **changes)[0]) - before).norm() for round_ in (1, 5, 10)
    ]
    assert moved[0] > moved[1] > moved[2] > 0


def test_class_weights_pull_towards_the_rare_class(train):
    points = Points(8)
    points.targets = torch.tensor([0] * 7 + [1])
    changes = {"training_batch_size": 8, "training_learning_rate": 1.0}
    counts = np.array([7, 1])
    plain, _ = train(points, **changes)
    weighted, _ = train(points, task_class_weights="site", statistics={"class_counts": counts}, **changes)
    rare = [model(points.images).softmax(1)[:, 1].mean() for model in (plain, weighted)]
    assert rare[1] > rare[0]


def test_the_optimiser_remembers_nothing_of_earlier_rounds(train):
    changes = {"training_optimizer": "adamw"}
    first, _ = train(Points(8), round_=1, **changes)
    copy = linear()
    copy.load_state_dict(first.state_dict())
    continued, _ = train(Points(8), round_=2, model=first, **changes)
    fresh, _ = train(Points(8), round_=2, model=copy, **changes)
    assert torch.equal(weights(continued), weights(fresh))


def test_a_loss_that_is_no_number_ends_the_round(train):
    points = Points(8)
    points.images[5] = math.nan
    with pytest.raises(TrainingError, match=r"alpha.*no longer a number in round 4.*no update") as caught:
        train(points, round_=4)
    assert "learning_rate" in str(caught.value)


def test_channels_last_gives_close_results(tiny_job):
    from client.data.samples.batches import Samples
    from shared.networks.build import build_model

    job = tiny_job(data_augment=[], training_optimizer="sgd")  # Adam makes a whole step of a rounding error
    task = make_task(job)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 16, 16, generator=generator)
    samples = Samples(
        job,
        {"image": images, "mask": (images[:, 0] > 0).to(torch.uint8)},
        patients=list("abcdef"),
        keys=list("abcdef"),
        spacings=[None] * 6,
    )
    vectors = []
    for form in (torch.contiguous_format, torch.channels_last):
        model = build_model(job, seed=1).to(memory_format=form)
        LocalTraining(model, task, samples, job, site="alpha", device=CPU).run(1)
        vectors.append(weights(model))
    torch.testing.assert_close(*vectors, rtol=1e-3, atol=1e-4)
