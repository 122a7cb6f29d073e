"""Adversarial training: what a step learns from is the changed image, also where gradients are clipped."""

from typing import Any

import pytest
import torch

from client.training.loop import LocalTraining
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.attacks import Attack
from tests.client.training.test_private_training import (
    CPU,
    PATIENTS,
    private_job,
    samples_for,
    train,
    weights,
)
from tests.jobs import make_job

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
TABLE = {"epsilon": 0.2, "steps": 2}


def test_a_job_without_it_is_the_job_that_it_was() -> None:
    assert "adversarial" not in make_job().canonical()
    job = make_job(task_name="classification", training_adversarial=TABLE)
    assert job.training.adversarial is not None
    assert job.training.phases == {}


def test_a_step_is_that_on_changed_images() -> None:
    """With one full batch and plain descent the weights move by the gradient at what the attack made."""
    options: dict[str, Any] = {
        "task_name": "classification",
        "model_norm": "group",
        "data_augment": [],
        "training_local_epochs": None,
        "training_local_steps": 1,
        "training_batch_size": 100,
        "training_optimizer": "sgd",
        "training_momentum": 0.0,
        "training_learning_rate": 1.0,
    }
    moves = []
    for table in (None, {"epsilon": 1e-9}, TABLE):
        job = make_job(**options, training_adversarial=table)
        task, model, samples = make_task(job), build_model(job, seed=1), samples_for(job, PATIENTS)
        before = weights(model)
        LocalTraining(model, task, samples, job, site="a", device=CPU).run(1)
        moves.append(weights(model) - before)
    torch.testing.assert_close(moves[0], moves[1], rtol=1e-3, atol=1e-6)
    assert (moves[0] - moves[2]).norm() > 0.05 * moves[0].norm()


@pytest.mark.parametrize("bound", [0.02, 100.0])
def test_private_gradients_of_two_patients_are_those_at_their_own_changed_images(
    tiny_job: Any, monkeypatch: pytest.MonkeyPatch, bound: float
) -> None:
    """Each is computed by itself, from the attack on that patient's image alone, and clipped."""
    made = []
    own = Attack.on

    def noted(attack: Attack, images: torch.Tensor, *given: Any) -> torch.Tensor:
        made.append(own(attack, images, *given))
        return made[-1]

    monkeypatch.setattr(Attack, "on", noted)
    job = private_job(tiny_job, training_adversarial=TABLE, privacy_max_grad_norm=bound)
    samples = samples_for(job, ["ann", "ben"])
    moved = train(job, samples)
    task, model = make_task(job), build_model(job, seed=1)
    models, [phase] = models_of(model), task.phases()
    total = torch.zeros_like(moved)
    [images] = made
    assert 0.1 < (images - samples.columns["image"]).abs().max() <= 0.2 + 1e-6
    for place in range(2):
        alone = samples.batch([place]).plus(image=images[place : place + 1])
        loss = phase.loss(models, alone).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        gradient = torch.cat([part.flatten() for part in gradients])
        total += gradient * min(1.0, bound / float(gradient.norm()))
    torch.testing.assert_close(moved, -total / 2, rtol=1e-3, atol=1e-5)
