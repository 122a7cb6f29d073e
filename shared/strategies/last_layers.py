"""Which tensors of a network are those of its last layers."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from shared.errors import JobError
from shared.text.names import is_within, suggestion

if TYPE_CHECKING:
    from torch import nn


def last_layers(model: "nn.Module", layers: Collection[str] | None, strategy: str) -> frozenset[str]:
    """Return the names of the parameters and statistics of a network's last layers.

    Args:
        model: The job's network, or its networks by role.
        layers: Their names; None takes those in the network's `last_layers`, or the last that is trained.
        strategy: Asks for them; for errors.

    Raises:
        JobError: There is no such layer, nothing of it is trained, or nothing else is.
    """
    from shared.networks.build import Networks

    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if layers is None:
        if isinstance(model, Networks):
            raise JobError(
                f"layers: '{strategy}' can't tell which layer of several networks is the last",
                where="[strategy]",
                remedy="Name the layers that stay at the sites, as 'encoder.5'.",
            )
        layers = getattr(model, "last_layers", None) or _last(model)
    for layer in layers:
        if not any(is_within(name, [layer]) for name in trained):
            known = {".".join(name.split(".")[:depth]) for name in trained for depth in (1, 2)}
            problem = f"no part of the network with anything to train is '{layer}'"
            raise JobError(f"layers: {problem}; {suggestion(layer, known)}", where="[strategy]")
    if all(is_within(name, layers) for name in trained):
        raise JobError(
            f"'{strategy}' keeps {', '.join(layers)} at the sites, and this job trains nothing else",
            where="[strategy] name",
            remedy="Take a network with more layers, or 'ditto', which keeps a whole model.",
        )
    tensors = [*(name for name, _ in model.named_parameters()), *(name for name, _ in model.named_buffers())]
    return frozenset(name for name in tensors if is_within(name, layers))


def _last(model: "nn.Module") -> list[str]:
    """Return the last layer with weights, in the order of the network, and what follows it, as a norm."""
    trained = [own for own in model.named_parameters() if own[1].requires_grad]
    weights = [place for place, (_, parameter) in enumerate(trained) if parameter.dim() > 1]
    following = trained[weights[-1] if weights else -1 :]
    return sorted({name.rpartition(".")[0] or name for name, _ in following})
