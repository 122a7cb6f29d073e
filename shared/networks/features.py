"""What a network knows of an image before its last layer makes an answer of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from shared.seeds import seed_of

Seen = list[Tensor]
_CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d


@contextmanager
def last_features(networks: Sequence[nn.Module]) -> Iterator[Seen]:
    """Give a list that holds, after each run of networks, what their last linear layer was given (B, N).

    It stays empty where no such layer sees a vector for each sample.
    """
    seen: Seen = []

    def note(_: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
        if given[0].dim() == 2:
            seen[:] = [given[0]]

    layers = (module for own in networks for module in own.modules() if isinstance(module, nn.Linear))
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def features(networks: Sequence[nn.Module]) -> Iterator[Seen]:
    """Give a list that holds, after each run of networks, the features of each sample (B, N).

    They are `last_features`, and in networks of maps, where nothing sees a vector for each sample, the mean
    over all positions of what the last of the convolutions with the smallest maps gave.
    """
    smallest: list[int] = []
    coarse: Seen = []
    found: Seen = []

    def begin(*_: object) -> None:
        smallest.clear()

    def note(_: nn.Module, __: tuple[Tensor, ...], made: Tensor) -> None:
        positions = made[0, 0].numel()
        if not smallest or positions <= smallest[0]:
            smallest[:], coarse[:] = [positions], [made]

    def end(*_: object) -> None:
        found[:] = seen or [made.flatten(2).mean(dim=2) for made in coarse]

    layers = (module for own in networks for module in own.modules() if isinstance(module, _CONVOLUTIONS))
    handles = [own.register_forward_pre_hook(begin) for own in networks]
    handles += [layer.register_forward_hook(note) for layer in layers]
    try:
        with last_features(networks) as seen:
            handles += [own.register_forward_hook(end) for own in networks]
            yield found
    finally:
        for handle in handles:
            handle.remove()


def projected(features: Tensor, number: int, seed: int) -> Tensor:
    """Return features (B, N) scaled to length 1, in so many directions that are drawn at random (B, number).

    Of a network with fewer features there are zeros behind them.
    """
    found = normalize(features) @ _directions(features.shape[1], number, seed).to(features)
    return pad(found, (0, number - found.shape[1]))


@lru_cache(maxsize=8)  # each step of a training asks for them
def _directions(size: int, number: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of(seed, "directions"))
    drawn = torch.randn(size, min(number, size), generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q
