"""Generation at a site: what private training does to its two networks, and what bounded sums leave of it."""

import math
from typing import Any

import pytest
import torch

from client.data.samples.batches import Samples
from client.guard.bounded_sums import Bounds, bound
from client.training.phases import make_optimizer
from client.training.private_loop import PrivateTraining
from client.training.private_plan import plan
from client.work.warm_networks import predictions
from shared.batch import Batch
from shared.job.schema import JobSpec
from shared.metrics.states import MetricSet
from shared.networks.build import build_model, models_of
from shared.privacy.randomness import SeededRandomness
from shared.tasks import make_task
from tests.client.training.test_phases import CPU, PRIVATE, Seen, weights
from tests.jobs import make_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
BOUND = 0.1


def job(**options: Any) -> JobSpec:
    return make_job(task_name="generation", **options)


def private_job(**options: Any) -> JobSpec:
    return job(task_penalty=0.0, privacy_max_grad_norm=BOUND, **PRIVATE | options)


def samples_of(spec: JobSpec, count: int) -> Samples:
    """Return random images, one per patient, of the first and the second class in turn."""
    values = {"image": torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))}
    if spec.task.classes:
        values["label"] = torch.arange(count) % 2
    names = [f"p{number}" for number in range(count)]
    return Samples(spec, values, patients=names, keys=names, spacings=[None] * count)


@pytest.mark.parametrize("classes", [[], ["a", "b"]])
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_the_discriminator_has_clipped_gradients_and_the_generator_plain_ones(
    classes: list[str], loss: str
) -> None:
    """Two patients whose gradients are known; the generator learns from the noisy discriminator alone."""
    spec = private_job(task_classes=classes, task_loss=loss)
    model, seen = build_model(spec), Seen(make_task(spec))
    arguments = {"site": "a", "device": CPU, "randomness": SeededRandomness(1)}
    PrivateTraining(model, seen.task, samples_of(spec, 2), spec, **arguments).run(1)
    plain = build_model(spec)
    last = {phase.name: batch for phase, batch in seen.batches}  # before it was the trial of the hooks
    assert "image" not in last["generator"]
    last["generator"] = Batch.joined([batch for phase, batch in seen.batches if phase.name == "generator"])
    for phase in make_task(spec).phases():
        batch, parameters = last[phase.name], list(plain[phase.name].parameters())
        flat = []
        for place in range(len(batch)):
            one = phase.loss(models_of(plain), batch.chosen([place])).mean()
            flat.append(torch.cat([part.flatten() for part in torch.autograd.grad(one, parameters)]))
        bound = BOUND if phase.sees_data else math.inf
        step = torch.stack([one * min(1.0, bound / float(one.norm())) for one in flat]).mean(0)
        if phase.sees_data:
            assert max(float(one.norm()) for one in flat) > BOUND
        for parameter, part in zip(parameters, step.split([own.numel() for own in parameters]), strict=True):
            parameter.data -= part.view(parameter.shape)
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-3, atol=1e-5)


def test_the_ledger_is_charged_for_the_discriminator_alone() -> None:
    local_steps = {"training_local_epochs": None, "training_local_steps": 7}
    assert plan(private_job(**local_steps), 40).steps == 7


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_momentum_is_the_first_beta_of_adam(name: str) -> None:
    for options, beta in (({}, 0.9), ({"training_momentum": 0.0}, 0.0)):
        spec = job(training_optimizer=name, **options)
        [group] = make_optimizer({1.0: [torch.nn.Parameter(torch.zeros(2))]}, spec.training).param_groups
        assert group["betas"] == (beta, 0.999)


def judged(spec: JobSpec, count: int) -> MetricSet:
    task, models = make_task(spec), models_of(build_model(spec))
    metrics = task.metrics()
    for batch, predicted in predictions(task, models, samples_of(spec, count)):
        task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    return metrics


def test_bounded_sums_still_tell_the_distance() -> None:
    """Of 1000 patients at a hospital whose smallest group is 10; of 300 it is 1.7 times too large."""
    exact, told = judged(job(), 1000), judged(job(), 1000)
    bound(told, Bounds(10, lambda digest: int(digest[:12], 16)), 10)
    assert told.compute() != exact.compute()
    assert told.compute()["frechet"] == pytest.approx(exact.compute()["frechet"], rel=0.5)


def test_sums_of_too_few_patients_tell_nothing() -> None:
    told = judged(job(), 9)
    bound(told, Bounds(10, lambda digest: int(digest[:12], 16)), 10)
    assert all(math.isnan(value) for value in told.compute().values())
