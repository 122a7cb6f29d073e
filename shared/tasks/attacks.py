"""Adversarial images: what a change too small to see, but chosen against a model, does to its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_FAR = 2.5  # times epsilon, that the steps of an attack could go in all
_FAR_AT_ONCE = 1.25  # of a single step from a drawn place


@dataclass(frozen=True)
class Attack:
    """Raises the loss of each image by a change of at most epsilon in each of its numbers.

    One step from the image itself is FGSM (Goodfellow, Shlens and Szegedy, ICLR 2015, section 4). Several
    steps, from a place that is drawn, each followed by a projection, are PGD (Madry et al., ICLR 2018,
    equation 2).

    Attributes:
        epsilon: In the units of prepared images.
        steps: Gradients that are taken.
        drawn: Whether a single step too begins at a drawn place, as training needs it (Wong, Rice and Kolter,
            ICLR 2020).
        ends: What numbers of an image may be; None for any.
    """

    epsilon: float
    steps: int
    drawn: bool
    ends: tuple[float, float] | None

    @classmethod
    def of(cls, job: "JobSpec", epsilon: float, steps: int, *, drawn: bool = False) -> "Attack":
        """Return an attack on a job's images, which stay in 0..1 where they are prepared to lie there."""
        ends = None if job.data.intensity in ("none", "zscore") else (0.0, 1.0)
        return cls(epsilon, steps, drawn or steps > 1, ends)

    def on(self, images: Tensor, losses: Callable[[Tensor], Tensor], seeds: Sequence[int]) -> Tensor:
        """Return changed images (B, C, *S).

        Args:
            images: What is changed.
            losses: Images -> the loss of each (B,), which depends on no other image.
            seeds: Of what is drawn for each image.
        """
        change = self._start(images, seeds) if self.drawn else torch.zeros_like(images)
        for _ in range(self.steps):
            given = (images + change).detach().requires_grad_()
            [gradient] = torch.autograd.grad(losses(given).sum(), given)
            change = (change + self._step * gradient.sign()).clamp(-self.epsilon, self.epsilon)
            change = self._within(images + change, images) - images
        return (images + change).detach()

    @property
    def _step(self) -> float:
        if self.steps > 1:
            return _FAR * self.epsilon / self.steps
        return self.epsilon * (_FAR_AT_ONCE if self.drawn else 1)

    def _start(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        drawn = [
            torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            for image, seed in zip(images, seeds, strict=True)
        ]
        return self._within(images + self.epsilon * torch.stack(drawn).to(images), images) - images

    def _within(self, changed: Tensor, images: Tensor) -> Tensor:
        """Return numbers that are no farther outside of the ends than an image's own are."""
        if self.ends is None:
            return changed
        low, high = self.ends
        return changed.maximum(images.clamp(max=low)).minimum(images.clamp(min=high))
