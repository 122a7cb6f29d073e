"""The teacher of a round: the networks as they were when it began, following the steps of training."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from shared.tasks.base import TEACHER, Models, Task


class Teacher:
    """Copies of the networks of a training, which are neither trained nor sent.

    Args:
        models: That are trained.
        decay: Share of the copies that each step leaves; 1 leaves them as they were.

    Attributes:
        networks: The copies, in evaluation mode, by their names in a task's loss.
    """

    def __init__(self, models: Models, decay: float) -> None:
        self._decay = decay
        self._followed = models
        self.networks: dict[str, nn.Module] = {
            TEACHER + role: deepcopy(network).requires_grad_(requires_grad=False).eval()
            for role, network in models.items()
        }

    @classmethod
    def of(cls, task: Task, models: Models) -> "Teacher | None":
        """Return the teacher of a task; None where it has none."""
        decay = task.teacher_decay
        return None if decay is None else cls(models, decay)

    def begin(self) -> None:
        """Be what the networks are."""
        self._move(0.0)

    def follow(self) -> None:
        """Take a step towards the networks."""
        if self._decay < 1:
            self._move(self._decay)

    @torch.no_grad()
    def _move(self, decay: float) -> None:
        for role, network in self._followed.items():
            copy = self.networks[TEACHER + role]
            for own, other in zip(copy.parameters(), network.parameters(), strict=True):
                _average(own, other, decay)
            for kept, moved in zip(copy.buffers(), network.buffers(), strict=True):
                kept.copy_(moved)


def _average(own: Tensor, other: Tensor, decay: float) -> None:
    if decay:
        own.lerp_(other, 1 - decay)
    else:
        own.copy_(other)
