"""Two networks and two phases in one training: who changes what, by which optimiser, at which price."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from client.data.samples.batches import Samples
from client.settings.policy import PolicyError, PolicyTable, check_job
from client.training.loop import LocalTraining
from client.training.private_loop import PrivateTraining
from client.training.private_plan import plan
from shared.batch import Batch
from shared.job.errors import describe
from shared.job.schema import JobSpec
from shared.job.template import job_tables
from shared.job_parts import networks_of
from shared.networks.build import build_model, models_of
from shared.privacy.randomness import SeededRandomness
from shared.strategies.vectors import MODEL, Steps, Trained
from shared.strategies.wire import Wire
from shared.tasks.base import Models, Task
from shared.wire.packed_model import ModelState
from tests.pairs import CNN, PairSpec, pair_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
CPU = torch.device("cpu")
PRIVATE = {
    "training_optimizer": "sgd",
    "training_momentum": 0.0,
    "training_learning_rate": 1.0,
    "training_batch_size": 100,
    "strategy_weight": "equal",
    "privacy_mechanism": "dp-sgd",
    "privacy_noise_multiplier": 1e-9,
}
PLAIN_SGD = {"training_optimizer": "sgd", "training_momentum": 0.0}


def samples_of(job: JobSpec, count: int = 6) -> Samples:
    """Return random images, one per patient."""
    images = torch.randn(count, 1, *(job.data.size or []), generator=torch.Generator().manual_seed(0))
    names = [f"p{count - number}" for number in range(count)]
    return Samples(job, {"image": images}, patients=names, keys=names, spacings=[None] * count)


class Seen:
    """Remembers every batch that a phase of a task was given."""

    def __init__(self, task: Task) -> None:
        self.task, self.batches = task, []
        self._phases, task.phases = task.phases, self._watched

    def _watched(self) -> list[Any]:
        return [replace(phase, loss=self._noted(phase)) for phase in self._phases()]

    def _noted(self, phase: Any) -> Any:
        def loss(models: Models, batch: Batch) -> Tensor:
            self.batches.append((phase, batch.each(lambda _, value: value.detach().clone())))
            return phase.loss(models, batch)

        return loss


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])


def local(job: JobSpec, pull: Any = None, rounds: int = 1) -> tuple[nn.Module, Seen, Any]:
    """Train for some rounds; returns the networks, what was seen, and what the last round did."""
    model, seen = build_model(job), Seen(job.task.build(job))
    training = LocalTraining(model, seen.task, samples_of(job), job, site="a", device=CPU)
    done = [training.run(round_, Steps(pull)) for round_ in range(1, rounds + 1)]
    return model, seen, done[-1]


@pytest.mark.parametrize("pull", [None, lambda now: 0.1 * now])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_each_phase_is_a_plain_loop_over_its_own_network(pull: Any, clip: float | None) -> None:
    """The same steps, in PyTorch alone: two optimisers, each with options of its own."""
    own = {"optimizer": "sgd", "learning_rate": 0.3, "momentum": 0.5, "gradient_clip": clip}
    job = pair_job(training_discriminator=own, training_optimizer="sgd", training_local_epochs=2)
    model, seen, done = local(job, pull)
    plain = build_model(job)
    optimizers = {
        "discriminator": torch.optim.SGD(plain["discriminator"].parameters(), 0.3, momentum=0.5),
        "generator": torch.optim.SGD(plain["generator"].parameters(), 0.01, momentum=0.9),
    }
    first = []
    assert [phase.name for phase, _ in seen.batches[:3]] == ["discriminator", "generator", "discriminator"]
    for phase, batch in seen.batches:
        plain.zero_grad()
        loss = phase.loss(models_of(plain), batch).mean()
        loss.backward()
        for parameter in plain.parameters():
            parameter.grad += 0 if pull is None else pull(parameter.detach())
        if clip is not None and phase.name == "discriminator":
            nn.utils.clip_grad_norm_(plain["discriminator"].parameters(), clip)
        optimizers[phase.name].step()
        first += [loss.item()] if phase.name == "discriminator" else []
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-4, atol=1e-5)
    assert done.loss == pytest.approx(np.mean(first), rel=1e-4)
    assert done.steps == len(first) == 4


def test_a_phase_that_sees_no_data_is_given_none_and_draws_anew() -> None:
    _, seen, _ = local(pair_job(training_batch_size=4))
    drawn = [batch for phase, batch in seen.batches if phase.name == "generator"]
    assert all(set(batch.values) == {"noise"} and len(batch) == 4 for batch in drawn)
    assert not torch.equal(drawn[0]["noise"], drawn[1]["noise"])
    assert all("image" in batch for phase, batch in seen.batches if phase.name == "discriminator")


def test_each_phase_has_a_schedule_of_its_own() -> None:
    own = {"schedule": "linear"}
    job = pair_job(training_generator=own, job_rounds=2, **PLAIN_SGD)
    state = ModelState(build_model(job))
    _, _, done = local(job, rounds=2)
    sizes = [sum(parameter.numel() for parameter in own.parameters()) for own in build_model(job).values()]
    generator, discriminator = np.split(done.rates, [sizes[0]])
    assert len(done.rates) == state.layout.parameters
    assert np.allclose(discriminator, 0.01 * 2)
    assert np.allclose(generator, sum(0.01 * (1 - (1 + step / 2) / 2) for step in range(2)))


def test_the_same_round_gives_the_same_bits() -> None:
    job = pair_job()
    assert torch.equal(weights(local(job)[0]), weights(local(job)[0]))


@pytest.mark.parametrize("both_see", [False, True])
def test_private_phases_have_clipped_gradients_where_they_see_data(both_see: bool) -> None:
    """Two samples whose gradients are known, each cut down to a norm of 0.5; what is drawn is not."""
    job = pair_job(task_both_see=both_see, privacy_max_grad_norm=0.5, training_local_epochs=1, **PRIVATE)
    model, seen, data = build_model(job), Seen(job.task.build(job)), samples_of(job, 2)
    arguments = {"site": "a", "device": CPU, "randomness": SeededRandomness(1)}
    done = PrivateTraining(model, seen.task, data, job, **arguments).run(1)
    assert (done.steps, math.isnan(done.loss)) == (1, True)
    plain = build_model(job)
    last = {phase.name: batch for phase, batch in seen.batches}  # before it was the trial of the hooks
    if not both_see:  # memory has room for fewer at once
        drawn = [batch for phase, batch in seen.batches if phase.name == "generator"]
        assert max(len(batch) for batch in drawn) == 32
        last["generator"] = Batch.joined(drawn)
    for phase in job.task.build(job).phases():
        batch = last[phase.name]
        seen_by_one = [batch.chosen([place]) for place in range(len(batch))]
        parameters = list(plain[phase.name].parameters())
        losses = [phase.loss(models_of(plain), one).mean() for one in seen_by_one]
        gradients = [torch.autograd.grad(loss, parameters) for loss in losses]
        flat = [torch.cat([part.flatten() for part in gradient]) for gradient in gradients]
        bound = 0.5 if phase.sees_data else math.inf
        step = torch.stack([one * min(1.0, bound / float(one.norm())) for one in flat]).mean(0)
        for parameter, part in zip(parameters, step.split([own.numel() for own in parameters]), strict=True):
            parameter.data -= part.view(parameter.shape)
        assert len(batch) == (2 if phase.sees_data else 100)  # how many were drawn is not told
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-3, atol=1e-5)


def careless(batch: Batch, seed: int) -> Batch:
    """Draw for a whole batch from one seed, as a task should not."""
    generator = torch.Generator().manual_seed(seed)
    return batch.plus(noise=torch.randn(len(batch), 1, 8, 8, generator=generator))


def test_what_is_drawn_for_a_private_sample_does_not_depend_on_the_others() -> None:
    """Whoever else is in the step, and however many of them memory has room for at once."""
    noises = []
    for count in (2, 40):
        job = pair_job(**PRIVATE)
        seen, data = Seen(job.task.build(job)), samples_of(job, count)
        seen.task.prepare = careless  # type: ignore[method-assign]
        arguments = {"site": "a", "device": CPU, "randomness": SeededRandomness(1)}
        PrivateTraining(build_model(job), seen.task, data, job, **arguments).run(1)
        [batch] = [batch for _, batch in seen.batches if "p1" in batch.patients][-1:]
        noises.append(batch["noise"][batch.patients.index("p1")])
    assert torch.equal(*noises)


def test_the_ledger_is_charged_for_every_phase_that_sees_data() -> None:
    alone, both = (plan(pair_job(task_both_see=see, **PRIVATE), 40) for see in (False, True))
    assert (alone.steps, both.steps) == (1, 2)
    promise = {**PRIVATE, "privacy_noise_multiplier": None, "privacy_epsilon": 2.0}
    alone, both = (plan(pair_job(task_both_see=see, **promise), 40) for see in (False, True))
    assert both.noise_multiplier > alone.noise_multiplier


def test_each_phase_that_sees_data_draws_patients_of_its_own() -> None:
    job = pair_job(task_both_see=True, **{**PRIVATE, "training_batch_size": 20})
    seen, data = Seen(job.task.build(job)), samples_of(job, 40)
    arguments = {"site": "a", "device": CPU, "randomness": SeededRandomness(1)}
    PrivateTraining(build_model(job), seen.task, data, job, **arguments).run(1)
    drawn: dict[str, set[str]] = {"discriminator": set(), "generator": set()}
    for phase, batch in seen.batches:
        drawn[phase.name].update(batch.patients)
    assert drawn["discriminator"] != drawn["generator"]


def test_scaffold_reads_the_mean_gradient_of_each_network_from_its_own_rate() -> None:
    job = pair_job(strategy_name="scaffold", training_generator={"learning_rate": 0.1}, **PLAIN_SGD)
    model = build_model(job)
    wire = Wire.of(model, job.strategy)
    first = ModelState(model).pack()
    trained, seen, done = local(job, pull=torch.zeros_like)

    class Once:
        left = 0

        def __call__(self, vector: Any, pull: Any = None, **_: Any) -> Trained:
            return Trained(ModelState(trained).pack(), done.rates, done.steps)

        def place(self, vector: Any) -> Tensor:
            return torch.from_numpy(vector)

    received = wire.split(wire.first(first))
    sent, kept = job.strategy.site(wire.model, wire.personal).round(Once(), received, {})
    plain = build_model(job)
    sums = {name: [torch.zeros_like(own) for own in plain[name].parameters()] for name in plain}
    for phase, batch in seen.batches:
        parameters = list(plain[phase.name].parameters())
        gradients = torch.autograd.grad(phase.loss(models_of(plain), batch).mean(), parameters)
        for parameter, gradient, total in zip(parameters, gradients, sums[phase.name], strict=True):
            parameter.data -= {"generator": 0.1, "discriminator": 0.01}[phase.name] * gradient
            total.add_(gradient / done.steps)
    expected = torch.cat([part.flatten() for parts in sums.values() for part in parts])
    torch.testing.assert_close(torch.from_numpy(kept["control"]), expected, rtol=1e-3, atol=1e-4)
    assert sent[MODEL].dtype == sent["control"].dtype == np.float32


def test_a_network_without_anything_to_train_is_left_as_it_is() -> None:
    job = pair_job(update={"parts": ["discriminator"]})
    model, _, done = local(job)
    before = build_model(job)
    assert torch.equal(weights(model["generator"]), weights(before["generator"]))
    assert not torch.equal(weights(model["discriminator"]), weights(before["discriminator"]))
    assert done.loss > 0


def test_parts_and_personal_layers_go_by_the_names_of_networks() -> None:
    job = pair_job(strategy_name="fedbn")
    model = build_model(job)
    own = Wire.of(model, job.strategy).personal
    assert {name.partition(".")[0] for name in own} == {"generator", "discriminator"}
    frozen = build_model(pair_job(update={"parts": ["generator.head"]}))
    named = dict(frozen.named_parameters())
    trained = {name for name in named if named[name].requires_grad}
    assert trained == {"generator.head.1.weight", "generator.head.1.bias"}


def test_a_network_does_not_depend_on_the_other() -> None:
    other = build_model(pair_job(model={"generator": CNN | {"channels": [8, 8]}, "discriminator": CNN}))
    assert torch.equal(weights(other["discriminator"]), weights(build_model(pair_job())["discriminator"]))


def test_a_job_of_two_networks_is_one_text_and_one_digest() -> None:
    job = pair_job(training_discriminator={"learning_rate": 1e-4})
    assert '"discriminator":{"learning_rate":0.0001}' in job.canonical()
    again = PairSpec.model_validate_json(job.canonical())
    assert (again, again.digest()) == (job, job.digest())
    assert [network.table for network in networks_of(job)] == ["model.generator", "model.discriminator"]
    assert "## [training.PHASE]" in job_tables()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": CNN}, "[model]: 'toy-pair' has 2 networks; give each a table of its own: [model.gen"),
        ({"model": {"generator": CNN}}, "[model.discriminator]: the table is missing"),
        ({"model": {"generater": CNN, "discriminator": CNN}}, "did you mean 'generator'?"),
        ({"model": {"generator": CNN | {"chanels": [4]}, "discriminator": CNN}}, "did you mean 'channels'?"),
        ({"model": {"generator": {}, "discriminator": CNN}}, "[model.generator] name: is missing"),
        ({"model": {"generator": {"name": "unet"}, "discriminator": CNN}}, "'unet' is not for toy-pair"),
        ({"training_generater": {"momentum": 0.1}}, "[training.generater]: is not a phase of 'toy-pair'"),
        ({"training_generator": {"batch_size": 4}}, "batch_size: unknown key; it belongs under [training]"),
        ({"training_generator": {"momentum": 1.0}}, "[training.generator] momentum: must be below 1"),
        ({"task_in_pairs": True, **PRIVATE}, "the phase 'discriminator' of 'toy-pair' compares the images"),
        ({"training_generator": {"gradient_clip": 1.0}, **PRIVATE}, "gradient_clip: with 'dp-sgd'"),
        ({"strategy_name": "scaffold", "training_generator": {"optimizer": "adam"}}, "must be 'sgd'"),
    ],
)
def test_what_is_wrong_is_said_with_its_table(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        pair_job(**options)
    assert words in describe(caught.value, PairSpec)


def test_a_hospital_must_allow_each_network() -> None:
    job = pair_job(model={"generator": {"name": "resnet18"}, "discriminator": CNN}, data_size=[64, 64])
    check_job(PolicyTable(networks=["cnn", "resnet18"]), job, "alpha")
    with pytest.raises(PolicyError, match="does not allow 'resnet18'"):
        check_job(PolicyTable(networks=["cnn"]), job, "alpha")


def test_only_networks_that_see_data_need_the_gradients_of_samples() -> None:
    from shared.networks import NETWORKS

    refused = next(name for name, own in NETWORKS.items() if own.obstacle and own.gives == "vector")
    size = {"data_size": [32, 32]}
    pair_job(model={"generator": {"name": refused}, "discriminator": CNN}, **size, **PRIVATE)
    with pytest.raises(ValidationError) as caught:
        pair_job(model={"generator": CNN, "discriminator": {"name": refused}}, **size, **PRIVATE)
    assert f"[model.discriminator] name: '{refused}' can't be trained" in describe(caught.value, PairSpec)
