"""The sum of clipped gradients: what differential privacy bounds before noise is added.

A *unit* is what the guarantee is for, a patient or an image. Whatever a unit's images are, its gradient adds
at most `max_norm` (L2) to the sum (Abadi et al., CCS 2016, "Deep learning with differential privacy").
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from client.training.hook_trial import all_same, require_apart, tells, trial_batch, tried_once
from client.training.sample_gradients import SampleGradients, SampleNorms, whole
from shared.batch import Batch

SampleLosses = Callable[[Batch], Tensor]
"""(batch) -> losses (B,), where a sample's loss depends on no other sample."""

_ROUNDING = 1e-6  # relative: norms are sums of many float32


class ClippedSum(ABC):
    """Adds up clipped gradients; holds hooks in the model until it is closed.

    Where a trial shows that hooks do not have the gradients of this network, each unit takes a backward pass
    of its own.

    Args:
        model: In training mode, without batch norm and without operations in place.
        losses: Runs the model.
        max_norm: Bound on a unit's gradient.
        targets: Fields that the model does not see. By every other one that has fractions is differentiated.
        name: Of the losses, where a model has several.
    """

    _kind: type[SampleGradients | SampleNorms]

    def __init__(
        self,
        model: nn.Module,
        losses: SampleLosses,
        max_norm: float,
        targets: Collection[str],
        *,
        name: str = "",
    ) -> None:
        self._hooks = self._kind(model, loss_reduction="sum")
        self._name = name
        self._model = model
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._losses = losses
        self._max_norm = max_norm
        self._targets = targets
        self._sums = self._zeros()
        self._hooked: bool | None = None  # whether hooks have the gradients; None until a trial shows it

    def add(self, batch: Batch, owners: Tensor) -> None:
        """Add the gradients of some units to the sum.

        Args:
            batch: B samples, on the model's device.
            owners: (B,) int64, the unit of each sample, counted from 0; every unit has a sample. A unit's
                gradient is the mean over its samples.

        Raises:
            WardroundError: The loss of a sample depends on another one.
        """
        if self._hooked is None:
            self._hooked = self._try_hooks(batch)
        if self._hooked:
            self._add_together(batch, owners)
        else:
            self._add_singly(batch, owners)

    def _inputs(self, batch: Batch) -> list[Tensor]:
        """Return what hooks follow to the losses, which requires a gradient from now on."""
        found = [value for name, value in batch.values.items() if self._is_followed(name, value)]
        return [value.requires_grad_() for value in found]

    def _is_followed(self, name: str, value: Any) -> bool:
        return name not in self._targets and isinstance(value, Tensor) and value.is_floating_point()

    @abstractmethod
    def _add_together(self, batch: Batch, owners: Tensor) -> None:
        """Add gradients, as `add`, that the hooks have after one backward pass."""

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Let the model be asked without the hooks seeing it."""
        looking = self._hooks.hooks_enabled
        self._hooks.disable_hooks()
        try:
            yield
        finally:
            if looking:
                self._hooks.enable_hooks()

    def take(self) -> list[Tensor]:
        """Return the sum, one tensor a trainable parameter, and begin a new one."""
        sums, self._sums = self._sums, self._zeros()
        return sums

    def close(self) -> None:
        """Leave the model as it was."""
        self._hooks.cleanup()

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(parameter) for parameter in self._parameters]

    def _add_singly(self, batch: Batch, owners: Tensor) -> None:
        for unit in range(int(owners.max()) + 1):
            own = (owners == unit).nonzero()[:, 0].tolist()
            gradients = self._gradients(self._losses(batch.chosen(own)).mean())
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            factor = clip_factors(norm, self._max_norm)
            if factor > 0:
                for total, gradient in zip(self._sums, gradients, strict=True):
                    total.add_(factor * gradient)

    def _gradients(self, loss: Tensor) -> list[Tensor]:
        """Return the gradients of a loss; the graph is kept."""
        found = torch.autograd.grad(loss, self._parameters, retain_graph=True, allow_unused=True)
        return [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(self._parameters, found, strict=True)
        ]

    def _try_hooks(self, batch: Batch) -> bool | None:
        """Say whether the hooks have the gradients of this network, from a trial on samples of nobody.

        None where the samples have no gradients that could show it.
        """

        def trial() -> bool | None:
            self._hooks.enable_hooks()  # a trial before may have decided nothing
            some = trial_batch(batch, self._is_followed)
            inputs, losses = self._inputs(some), self._losses(some)
            losses.sum().backward(inputs=inputs, retain_graph=True)
            said = self._hooks.collect(self._parameters)
            self._hooks.disable_hooks()
            if not tells(inputs, losses):
                return None
            require_apart(inputs, losses)
            true = zip(*(self._gradients(loss) for loss in losses), strict=True)
            return all_same(said, [self._size(torch.stack(rows)) for rows in true])

        whole_fields = all(isinstance(value, Tensor) for value in batch.values.values())
        followed = any(self._is_followed(*field) for field in batch.values.items())
        hooked = whole_fields and followed and tried_once(self._model, (self._kind, self._name), trial)
        if hooked:
            self._hooks.enable_hooks()
        else:
            self._hooks.disable_hooks()
        return hooked

    @staticmethod
    @abstractmethod
    def _size(gradients: Tensor) -> Tensor:
        """Return what the hooks should say of the gradients (B, ...) of a parameter."""


class PerSampleSum(ClippedSum):
    """Clips the gradients of all samples after one backward pass, which holds them all in memory."""

    _kind = SampleGradients

    def _add_together(self, batch: Batch, owners: Tensor) -> None:
        inputs = self._inputs(batch)  # to differentiate by: the weights' own gradients are not computed
        sizes = owners.bincount()
        losses = self._losses(batch) / sizes[owners]
        losses.sum().backward(inputs=inputs)
        gradients = whole(self._hooks.collect(self._parameters))
        if len(sizes) < len(owners):
            gradients = [_sum_by(owners, gradient, len(sizes)) for gradient in gradients]
        factors = clip_factors(_norms(gradients), self._max_norm)
        for total, gradient in zip(self._sums, gradients, strict=True):
            if not factors.all():
                gradient[factors == 0] = 0  # else zero times infinity would be added
            total.add_((factors @ gradient.flatten(1)).view_as(total))

    @staticmethod
    def _size(gradients: Tensor) -> Tensor:
        return gradients


class GhostSum(ClippedSum):
    """Finds the norms in one backward pass and the clipped sum in another: keeps no gradient of a sample.

    For units of one sample each. Less memory, and less time where layers have many weights and few positions
    (Li et al. 2022, "Large language models can be strong differentially private learners", section 4).
    """

    _kind = SampleNorms

    def _add_together(self, batch: Batch, owners: Tensor) -> None:
        if len(owners.unique()) < len(owners):
            raise ValueError("ghost clipping is for units of one sample")
        inputs = self._inputs(batch)
        losses = self._losses(batch)
        losses.sum().backward(inputs=inputs, retain_graph=True)
        norms = torch.stack(whole(self._hooks.collect(self._parameters))).norm(dim=0)
        factors = clip_factors(norms, self._max_norm)
        usable = factors > 0
        if usable.all():
            self._hooks.disable_hooks()
            gradients = torch.autograd.grad((factors * losses).sum(), self._parameters)
            self._hooks.enable_hooks()
            for total, gradient in zip(self._sums, gradients, strict=True):
                total.add_(gradient)
        elif usable.any():  # again without those whose gradient is not a number: it would spread in the sum
            rest = batch.each(lambda _, value: value.detach()).chosen(usable.nonzero()[:, 0].tolist())
            self._add_together(rest, owners[usable])

    @staticmethod
    def _size(gradients: Tensor) -> Tensor:
        return gradients.flatten(1).norm(dim=1)


def clip_factors(norms: Tensor, max_norm: float) -> Tensor:
    """Return the factors (U,) that bring norms (U,) down to the bound.

    A norm that is not a finite number gets 0: a unit that breaks the arithmetic adds nothing, where an error
    about it would tell that it was there.
    """
    factors = (max_norm / (norms * (1 + _ROUNDING))).clamp(max=1)
    return torch.where(norms.isfinite(), factors, 0)


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    return torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)


def _sum_by(owners: Tensor, gradient: Tensor, units: int) -> Tensor:
    return gradient.new_zeros((units, *gradient.shape[1:])).index_add_(0, owners, gradient)
