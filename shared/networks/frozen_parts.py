"""Networks of which only some parts are trained; the rest stays as it was built."""

from collections.abc import Collection, Iterator, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from shared.errors import JobError
from shared.job_parts import rate_of
from shared.text.names import is_within, suggestion


def freeze_all_but(model: nn.Module, parts: Collection[str], beside: Collection[str] = ()) -> None:
    """Let only the named parts of a network be trained, and the tensors `beside` them by their names.

    Raises:
        JobError: A part has nothing to train.
    """
    parameters = dict(model.named_parameters())
    trained = [name for name, parameter in parameters.items() if parameter.requires_grad]
    for part in parts:
        if not any(is_within(name, [part]) for name in trained):
            known = {".".join(name.split(".")[:depth]) for name in trained for depth in (1, 2)}
            raise JobError(
                f"parts: no part of the network with anything to train is '{part}'; "
                f"{suggestion(part, known)}",
                where="[update]",
            )
    for name, parameter in parameters.items():
        parameter.requires_grad_(parameter.requires_grad and (name in beside or is_within(name, parts)))


def freeze_by_rate(model: nn.Module, rates: Mapping[str, float]) -> None:
    """Freeze what has a factor of 0 on its learning rate.

    Raises:
        JobError: A part that has a factor has nothing to train, or nothing is left to train.
    """
    trained = {name: own for name, own in model.named_parameters() if own.requires_grad}
    for part in rates:
        if not any(is_within(name, [part]) for name in trained):
            known = {".".join(name.split(".")[:depth]) for name in trained for depth in (1, 2)}
            problem = f"no part of the network with anything to train is '{part}'; {suggestion(part, known)}"
            raise JobError(f"rates: {problem}", where="[training]")
    for name, parameter in trained.items():
        parameter.requires_grad_(rate_of(name, rates) > 0)
    if not trainable(model):
        raise JobError("rates: nothing is left to train", where="[training]")


def freeze_norms(model: nn.Module) -> None:
    """Let every batch norm stay as it is."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)


def frozen_tensors(model: nn.Module) -> Iterator[str]:
    """Yield the names of a network's tensors that training leaves as they are, those of norms included."""
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        own = dict(module.named_parameters(recurse=False))
        yield from (prefix + key for key, parameter in own.items() if not parameter.requires_grad)
        if isinstance(module, _BatchNorm) and own and not module.weight.requires_grad:
            yield from (prefix + key for key, _ in module.named_buffers(recurse=False))


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
