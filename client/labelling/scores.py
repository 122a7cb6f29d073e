"""How little a model knows of an image: what is asked of somebody first."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from shared.errors import RunError
from shared.networks.random_state import drawn_from
from shared.tasks.base import Batch, Models, Prediction, Task
from shared.tasks.classes import LOGITS

PASSES = 20
"""Times that a network is asked with other units left out."""


def probabilities(logits: Tensor, *, several: bool) -> Tensor:
    """Return what each answer is given (B, A, K, *S): one answer over K classes, or one for each of K labels.

    Args:
        logits: (B, K, *S).
        several: Whether an image may have several labels.
    """
    if several:
        shares = logits.double().sigmoid()
        return torch.stack([shares, 1 - shares], dim=2)
    return logits.double().softmax(dim=1)[:, None]


def entropies(shares: Tensor) -> Tensor:
    """Return the entropy of each image (B,) in bits: the mean over its pixels, the sum over its answers."""
    terms = torch.special.entr(shares).sum(dim=2) / math.log(2)
    return terms.reshape(*terms.shape[:2], -1).mean(dim=2).sum(dim=1)


def disagreements(drawn: Sequence[Tensor]) -> Tensor:
    """Return what an answer would tell of the network's weights (B,), in bits.

    The entropy of the mean less the mean of the entropies (Houlsby et al. 2011, "Bayesian active learning for
    classification and preference learning", equation 2; with dropout in place of the weights' distribution:
    Gal et al. 2017).

    Args:
        drawn: `probabilities` of each pass.
    """
    mean = torch.stack(list(drawn)).mean(dim=0)
    each = torch.stack([entropies(shares) for shares in drawn]).mean(dim=0)
    return (entropies(mean) - each).clamp(min=0)


def drawn_answers(task: Task, models: Models, batch: Batch, seed: int) -> list[Prediction]:
    """Return what networks predict with units left out, `PASSES` times; all else is as in an evaluation.

    Raises:
        RunError: No network has a layer that leaves units out.
    """
    networks = list(models.values())
    device = next(networks[0].parameters()).device
    with dropping(networks), drawn_from(seed, device):
        return [task.predict(models, batch) for _ in range(PASSES)]


@contextmanager
def dropping(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Let layers of dropout leave units out, though the networks are in evaluation mode.

    Raises:
        RunError: There is no such layer.
    """
    layers = [module for own in networks for module in own.modules() if isinstance(module, _DropoutNd)]
    if not any(layer.p > 0 for layer in layers):
        raise RunError(
            "the network has no dropout, so it says the same each time that it is asked",
            where="--by bald",
            remedy="Take --by entropy or --by core-set, or a run whose [model] has dropout.",
        )

    def leave_out(layer: nn.Module, given: tuple[Any, ...], _: Any) -> Any:
        layer.training = True
        try:
            return layer.forward(*given)
        finally:
            layer.training = False

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(leave_out).remove)
        yield


def entropy_of(predicted: Prediction, *, several: bool) -> Tensor:
    """Return the entropy of each image of a batch (B,)."""
    return entropies(probabilities(predicted[LOGITS].detach(), several=several)).cpu()


def disagreement_of(drawn: Sequence[Prediction], *, several: bool) -> Tensor:
    """Return the disagreement about each image of a batch (B,)."""
    return disagreements([probabilities(own[LOGITS].detach(), several=several) for own in drawn]).cpu()
