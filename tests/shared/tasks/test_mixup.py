"""Mixup: two images and their labels by one share (Zhang et al. 2018)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.networks.random_state import drawn_from
from shared.tasks import make_task
from tests.jobs import make_job


class Recorder(nn.Module):
    """Gives the image's two numbers as logits, and keeps what it saw."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images.flatten(1)


def losses(seed: int, **options: Any) -> tuple[Tensor, Tensor]:
    task = make_task(make_job(task_name="classification", **options))
    images = torch.tensor([[[[4.0, 0.0]]], [[[0.0, 4.0]]], [[[1.0, 1.0]]]])
    batch = Batch({"image": images, "label": torch.tensor([0, 1, 0])}, ["ann", "ben", "cas"])
    network = Recorder()
    with drawn_from(seed, torch.device("cpu")):
        found = task.phases()[0].loss({"model": network}, batch)
    return found, network.seen


def test_a_mixture_has_the_losses_of_both_labels_by_their_shares() -> None:
    plain, images = losses(0)
    found, mixed = losses(3, task_mixup=1.0)
    again, _ = losses(3, task_mixup=1.0)
    other, _ = losses(4, task_mixup=1.0)
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    assert not torch.equal(found, plain)
    with drawn_from(3, torch.device("cpu")):
        share = float(torch.distributions.Beta(1.0, 1.0).sample())
        partner = torch.randperm(3)
    torch.testing.assert_close(mixed, share * images + (1 - share) * images[partner])
    logits, labels = mixed.flatten(1), torch.tensor([0, 1, 0])
    chance = logits.log_softmax(1)
    expected = -share * chance[range(3), labels] - (1 - share) * chance[range(3), labels[partner]]
    torch.testing.assert_close(found, expected)


def test_private_training_can_not_mix_patients() -> None:
    with pytest.raises(JobError, match=r"\[task\] mixup: mixes images of patients"):
        make_job(
            task_name="classification",
            task_mixup=0.2,
            strategy_min_patients=1,
            privacy={"mechanism": "dp-sgd", "noise_multiplier": 1.0},
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"training_adversarial": {"epsilon": 0.1}},
            "mixup: draws other mixtures each time that an attack asks",
        ),
        ({"task_stack": {"kind": "series"}}, "mixup: is for single images"),
    ],
)
def test_what_mixtures_do_not_go_with_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as refused:
        make_job(task_name="classification", task_mixup=0.2, **options)
    assert message in str(refused.value)
