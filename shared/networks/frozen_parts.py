"""Networks of which only some parts are trained; the rest stays as it was built."""

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from shared.errors import JobError
from shared.text.names import is_within, suggestion


def freeze_all_but(model: nn.Module, parts: Collection[str]) -> None:
    """Let only the named parts of a network be trained.

    Raises:
        JobError: A part has nothing to train.
    """
    parameters = dict(model.named_parameters())
    for part in parts:
        if not any(is_within(name, [part]) for name in parameters):
            known = {".".join(name.split(".")[:depth]) for name in parameters for depth in (1, 2)}
            raise JobError(
                f"parts: no part of the network with anything to train is '{part}'; "
                f"{suggestion(part, known)}",
                where="[update]",
            )
    for name, parameter in parameters.items():
        parameter.requires_grad_(is_within(name, parts))


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a network that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def train_mode(model: nn.Module) -> None:
    """Put a network into training mode, but for frozen batch norms, which go on with their statistics.

    Evaluation has those statistics, so what stands behind them has to be trained on them.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()
