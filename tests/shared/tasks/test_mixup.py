"""Mixup: two images and their labels by one share (Zhang et al. 2018)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.tasks import make_task
from tests.jobs import make_job


class Recorder(nn.Module):
    """Gives the image's two numbers as logits, and keeps what it saw."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images.flatten(1)


IMAGES = torch.tensor([[[[4.0, 0.0]]], [[[0.0, 4.0]]], [[[1.0, 1.0]]]])
LABELS = torch.tensor([0, 1, 0])


def losses(seed: int, **options: Any) -> tuple[Tensor, Tensor]:
    task = make_task(make_job(task_name="classification", **options))
    batch = Batch({"image": IMAGES, "label": LABELS}, ["ann", "ben", "cas"], keys=["a", "b", "c"])
    network = Recorder()
    found = task.phases()[0].loss({"model": network}, task.prepare(batch, seed))
    return found, network.seen


def test_a_mixture_has_the_losses_of_both_labels_by_their_shares() -> None:
    plain, _ = losses(3)
    found, mixed = losses(3, task_mixup=1.0)
    state = torch.get_rng_state()
    again, _ = losses(3, task_mixup=1.0)
    other, _ = losses(4, task_mixup=1.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, again)
    assert not torch.equal(found, other)
    assert not torch.equal(found, plain)
    chance = mixed.flatten(1).log_softmax(1)
    partners = []
    for own in range(3):
        fits = []
        for partner in {0, 1, 2} - {own}:
            apart = (IMAGES[own] - IMAGES[partner]).flatten()
            share = float((mixed[own] - IMAGES[partner]).flatten() @ apart / (apart @ apart))
            if torch.allclose(mixed[own], share * IMAGES[own] + (1 - share) * IMAGES[partner], atol=1e-5):
                fits.append((partner, share))
        [(partner, share)] = fits
        assert 0 <= share <= 1
        expected = -share * chance[own, LABELS[own]] - (1 - share) * chance[own, LABELS[partner]]
        torch.testing.assert_close(found[own], expected)
        partners.append(partner)
    assert sorted(partners) == [0, 1, 2]  # each is somebody's other image


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
            "mixup: an attack on an image would change the loss of what it is mixed with",
        ),
        ({"task_stack": {"kind": "series"}}, "mixup: is for single images"),
    ],
)
def test_what_mixtures_do_not_go_with_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as refused:
        make_job(task_name="classification", task_mixup=0.2, **options)
    assert message in str(refused.value)
