"""Low-rank adapters (LoRA): large layers stay as they are, and what is trained beside them is small.

Hu et al. 2022, "LoRA: Low-rank adaptation of large language models", equation 3: a layer W x becomes
W x + (alpha / rank) B A x, where A and B have `rank` rows and columns, B is 0 at first, and W is not trained.
"""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from shared.errors import JobError
from shared.job_parts import networks_of
from shared.networks.adapter_names import DOWN, UP, names_without_adapters
from shared.networks.options import LoraTable
from shared.text.names import is_within, suggestion

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


class Adapted(nn.Module):
    """A linear layer or a convolution with an adapter beside it; at first it gives what the layer gave.

    The adapter of a convolution has the same kernel, from the layer's channels to `rank`, and then a
    convolution of one pixel.
    """

    def __init__(self, base: nn.Linear | nn.Conv2d | nn.Conv3d, table: LoraTable) -> None:
        super().__init__()
        self.base = base
        self.scale = table.scale
        if isinstance(base, nn.Linear):
            self.down: nn.Module = nn.Linear(base.in_features, table.rank, bias=False)
            self.up: nn.Module = nn.Linear(table.rank, base.out_features, bias=False)
        else:
            kind = _CONVOLUTIONS[base.weight.dim() - 2]
            self.down = type(base)(
                base.in_channels,
                table.rank,
                base.kernel_size,  # type: ignore[arg-type]
                base.stride,  # type: ignore[arg-type]
                base.padding,  # type: ignore[arg-type]
                base.dilation,  # type: ignore[arg-type]
                bias=False,
                padding_mode=base.padding_mode,
            )
            self.up = kind(table.rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, values: Tensor) -> Tensor:
        """Return what the layer gives, and what the adapter adds."""
        base: Tensor = self.base(values)
        return base + self.scale * self.up(self.down(values))


def adapt(model: nn.Module, table: LoraTable, whole: Collection[str]) -> None:
    """Put adapters beside the layers of a network, and let nothing but these be trained.

    Args:
        model: With its start weights; changed in place.
        table: Says which layers, and how wide the adapters are.
        whole: Parts without adapters, as they are trained themselves.

    Raises:
        JobError: There is no layer for an adapter, or none in one of the parts that the table names.
    """
    kept = [own for name, own in model.named_parameters() if own.requires_grad and is_within(name, whole)]
    model.requires_grad_(False)
    layers = {name: layer for name, layer in model.named_modules() if _can_be_adapted(layer)}
    for part in table.layers or []:
        if not any(is_within(name, [part]) for name in layers):
            known = {".".join(name.split(".")[:depth]) for name in layers for depth in (1, 2)}
            raise JobError(
                f"layers: '{part}' has no linear layer or convolution to adapt; {suggestion(part, known)}",
                where="[model.lora]",
            )
    for name, layer in layers.items():
        if is_within(name, whole) or (table.layers is not None and not is_within(name, table.layers)):
            continue
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, Adapted(layer, table))
    if not adapters_of(model):
        raise JobError("no layer is left for an adapter", where="[model.lora] layers")
    for parameter in kept:
        parameter.requires_grad_(True)


def adapters_of(model: nn.Module) -> set[str]:
    """Return the names of the tensors of a network's adapters."""
    adapted = (name for name, layer in model.named_modules() if isinstance(layer, Adapted))
    return {layer + end for layer in adapted for end in (DOWN, UP)}


def _can_be_adapted(layer: nn.Module) -> bool:
    """Say whether a layer is linear, or a convolution over all of its channels."""
    if isinstance(layer, nn.Conv2d | nn.Conv3d):
        return layer.groups == 1 and math.prod(layer.weight.shape[1:]) > 1
    return type(layer) is nn.Linear  # attention has subclasses of it whose weights it reads itself


@torch.no_grad()
def merged(tensors: Mapping[str, Tensor], table: LoraTable) -> dict[str, Tensor]:
    """Return the tensors of the network without adapters that gives the same: W + (alpha / rank) B A.

    Args:
        tensors: By the names that they have in the network with adapters.
        table: Of the adapters.
    """
    found = {}
    for name, with_adapters in names_without_adapters(tensors).items():
        tensor = tensors[with_adapters]
        layer = name.removesuffix(".weight")
        if with_adapters != name and name.endswith(".weight"):
            down, up = tensors[layer + DOWN], tensors[layer + UP]
            change = up.flatten(1).double() @ down.flatten(1).double()
            tensor = (tensor.double() + table.scale * change.view(tensor.shape)).float()
        found[name] = tensor
    return found


def without_adapters(job: "JobSpec", tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors of a job's model as they are saved: adapters are merged into their layers.

    Args:
        job: Whose model it is.
        tensors: By the names that they have in the model that `build_model` gives.
    """
    found: dict[str, Tensor] = dict(tensors)
    for network in networks_of(job):
        if network.options.lora is not None:
            own = {name: found.pop(name) for name in list(found) if name.startswith(network.prefix)}
            within = {name.removeprefix(network.prefix): tensor for name, tensor in own.items()}
            found |= {
                network.prefix + name: tensor for name, tensor in merged(within, network.options.lora).items()
            }
    return found
