"""Attacks within their bounds, against a network whose worst is known; and accuracy on what they make."""

import pytest
import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.tasks import make_task
from shared.tasks.attacks import Attack
from tests.jobs import make_job

SEEDS = [1, 2, 3]
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0]).view(1, 2, 2)


def linear(images: Tensor) -> Tensor:
    return (images * WEIGHTS).flatten(1).sum(dim=1)


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("drawn", [True, False])
def test_the_worst_for_a_linear_loss_is_a_corner(steps: int, drawn: bool) -> None:
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = Attack(0.1, steps, drawn, None).on(images, linear, SEEDS)
    assert (found - images).abs().max() <= 0.1 + 1e-6
    if steps > 1 or not drawn:
        torch.testing.assert_close(found, images + 0.1 * WEIGHTS.sign())
    assert (linear(found) > linear(images)).all()


def test_numbers_stay_within_their_ends_but_where_the_image_is_outside() -> None:
    images = torch.tensor([[0.02, 0.98, 0.5, 1.3]]).view(1, 1, 2, 2)
    found = Attack(0.1, 10, True, (0.0, 1.0)).on(images, lambda own: own.flatten(1).sum(1), [1])
    torch.testing.assert_close(found.flatten(), torch.tensor([0.12, 1.0, 0.6, 1.3]))
    found = Attack(0.1, 10, True, (0.0, 1.0)).on(images, lambda own: -own.flatten(1).sum(1), [1])
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 0.88, 0.4, 1.2]))


def test_what_is_drawn_depends_on_the_sample_alone() -> None:
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    attack = Attack(0.1, 1, True, None)
    together = attack.on(images, lambda own: 0 * linear(own), SEEDS)
    assert torch.equal(together[1:2], attack.on(images[1:2], lambda own: 0 * linear(own), SEEDS[1:2]))
    assert not torch.equal(together, images)


class Mean(nn.Module):
    """Says the second class where an image's mean is above a half, and the surer the farther."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        above = self.scale * (images.flatten(1).mean(1) - 0.5)
        return torch.stack([-above, above], dim=1)


@pytest.mark.parametrize("steps", [1, 5])
def test_robust_accuracy_counts_what_can_not_be_turned(steps: int) -> None:
    asked = [{"name": "robust_accuracy", "epsilon": 0.1, "steps": steps}]
    job = make_job(task_name="classification", data_intensity="minmax", evaluation={"metrics": asked})
    task, model = make_task(job), Mean()
    means = torch.tensor([0.2, 0.45, 0.55, 0.65, 0.3])
    labels = torch.tensor([0, 0, 1, 1, 1])  # the last is wrong to begin with; two can be turned
    images = means.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    names = [str(number) for number in range(5)]
    batch = Batch({"image": images, "label": labels}, names, keys=names)
    predicted = task.predict({"model": model}, batch)
    metrics = task.metrics()
    task.update(metrics, predicted, batch, task.sample_losses({}, batch, predicted))
    found = metrics.compute()
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["robust_accuracy"] == pytest.approx(0.4)
    assert model.training
    assert model.scale.grad is None
    assert "attacked" not in task.predict({"model": model}, Batch({"image": images}, names, keys=names))


NEAR = {"epsilon": 0.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task_name": "survival", "training_adversarial": NEAR},
            r"\[training.adversarial\]: changes the image of a sample, and in survival it has 0",
        ),
        (
            {"task_name": "classification", "training_adversarial": NEAR, "task_mixup": 0.2},
            r"\[task\] mixup: an attack on an image would change the loss of what it is mixed with",
        ),
        (
            {"task_name": "generation", "training_adversarial": NEAR},
            "a step of 'generation' has several phases",
        ),
        (
            {
                "task_name": "classification",
                "training_adversarial": NEAR,
                "training_compile": True,
            },
            r"\[training\] compile: an attack asks",
        ),
        (
            {"task_name": "classification", "training_adversarial": {"epsilon": 0}},
            r"adversarial.epsilon",
        ),
        (
            {"task_name": "segmentation", "evaluation": {"metrics": [{"name": "robust_accuracy"}]}},
            "'robust_accuracy' is for tasks that give an image one class",
        ),
    ],
)
def test_what_can_not_be_attacked_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(JobError, match=message):
        make_job(**options)
