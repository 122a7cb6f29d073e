"""PyTorch's global random state, which layers such as dropout draw from."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawn_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let what is drawn on a processor and on a device depend on a seed; put their states back at the end.

    `torch.manual_seed` would disturb every other device, and asks after all kinds that there are.
    """
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
