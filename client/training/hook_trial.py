"""Whether hooks have the gradients of single samples of a network: tried before it is trained.

Hooks see what passes through a layer on the way from the images to the losses. A branch that does not depend
on the image (learned tokens, a constant), a parameter that two layers share, a layer without a batch
dimension: there they have nothing, or the wrong thing without a word.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import WardroundError

_TOLERANCE = 0.02  # of a gradient's norm: convolutions on a GPU are exact to three digits
_ROUNDING = 1e-4  # of the norm of all: a bias before a normalisation has a gradient of rounding errors alone
_SAMPLES = 2
_SHIFT = 0.02  # of the parameters during the trial: at zero, many a gradient would be zero too
_tried: "WeakKeyDictionary[nn.Module, dict[tuple[object, ...], bool]]" = WeakKeyDictionary()


def tried_once(model: nn.Module, kind: object, trial: Callable[[], bool | None]) -> bool | None:
    """Return what a trial said, made when a model is first seen with these parameters in training.

    What decided nothing is tried again.

    Args:
        model: With its hooks; its parameters are moved a little meanwhile.
        kind: Of the hooks.
        trial: Says whether the hooks have the gradients; None where its samples can't show it.
    """
    known = _tried.setdefault(model, {})
    key = (kind, *(parameter.requires_grad for parameter in model.parameters()))
    if key not in known:
        with _moved(model):
            said = trial()
        if said is None:
            return None
        known[key] = said
    return known[key]


def trial_batch(batch: Batch, is_drawn: Callable[[str, Tensor], bool]) -> Batch:
    """Return two samples like those of a batch: random where `is_drawn` says so, else like the first one."""
    generator = torch.Generator().manual_seed(0)

    def draw(name: str, value: Tensor) -> Tensor:
        if not is_drawn(name, value):
            return value
        return torch.randn(value.shape, generator=generator).to(value.device, value.dtype)

    return batch.chosen([0] * _SAMPLES).each(draw)


def tells(inputs: Sequence[Tensor], losses: Tensor) -> bool:
    """Say if each loss (B,) changes with what it is of: all is right with gradients that are zero anyway.

    Where a teacher is not sure, the loss of a sample without a label is 0.
    """
    each = [torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True) for loss in losses]
    return all(any(one is not None and one.any() for one in found) for found in each)


def all_same(said: Sequence[Tensor | None], true: Sequence[Tensor]) -> bool:
    """Say if what hooks say of each parameter (B, ...) is what is true."""
    total = float(torch.stack([one.norm() for one in true]).norm())
    return all(
        one is not None
        and one.shape == other.shape
        and float((one - other).norm()) <= _TOLERANCE * float(other.norm()) + _ROUNDING * total
        for one, other in zip(said, true, strict=True)
    )


def require_apart(inputs: Sequence[Tensor], losses: Tensor) -> None:
    """Check that the loss of the first sample depends on no other one, as clipping needs it.

    Args:
        inputs: (B, ...) each, that require a gradient.
        losses: (B,), of the samples.

    Raises:
        WardroundError: It does.
    """
    found = torch.autograd.grad(losses[0], inputs, retain_graph=True, allow_unused=True)
    if any(gradient is not None and gradient[1:].any() for gradient in found):
        raise WardroundError(
            "the network mixes the images of a batch, so what one of them changes can't be bounded",
            where="[model]",
            remedy="Take another network for private training.",
        )


@contextmanager
def _moved(model: nn.Module) -> Iterator[None]:
    """Move the parameters a little, and leave them and the random numbers as they were."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = [parameter.detach().clone() for parameter in parameters]
    devices = {parameter.device for parameter in parameters if parameter.is_cuda}
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            with torch.no_grad():
                for parameter in parameters:
                    parameter.add_(_SHIFT * torch.randn_like(parameter))
            yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)
