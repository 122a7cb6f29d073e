"""Networks as they are asked, by gradients too, while a training or an evaluation goes on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from shared.networks.encoder import Encoder


@contextmanager
def asked(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Put networks into evaluation mode, with gradients by their images; then everything is as it was.

    Features that an encoder remembers are computed anew: by them, nothing depends on the image.
    """
    modules = [module for network in networks for module in network.modules()]
    modes = [module.training for module in modules]
    encoders = [module for module in modules if isinstance(module, Encoder)]
    memories = [encoder.memory for encoder in encoders]
    for module in modules:
        module.training = False
    for encoder in encoders:
        encoder.memory = None
    try:
        with torch.enable_grad():
            yield
    finally:
        for encoder, memory in zip(encoders, memories, strict=True):
            encoder.memory = memory
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
