"""Maps from what a network's layers hold: the last convolution's features, or attention."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from monai.networks.blocks.selfattention import SABlock
from torch import Tensor, nn
from torch.nn import functional

from client.explain.subject import Subject
from shared.errors import RunError

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_Made = list[tuple[nn.Module, Tensor]]


def grad_cam(subject: Subject) -> Tensor:
    """Return where features that raise the score are (*S), at the end of the convolutions, enlarged.

    Features weighed by the mean of their gradient, where the sum is above zero (Selvaraju et al., ICCV 2017,
    equations 1 and 2). MONAI's `GradCAM` gives the same, but leaves its hooks in the network, and is told its
    layer by name; here it is the last one that is as fine as the last convolution.

    Raises:
        RunError: The network has none, or what comes after is attention.
    """
    if any(_attending(subject.networks)):
        raise RunError(
            "the network's features behind its attention are not a map",
            where="--explain grad-cam",
            remedy="Take attention, or a method that looks at images alone.",
        )
    with _recorded(subject.networks, subject.image.dim()) as made:
        score = subject.score(subject.image.detach().requires_grad_()).sum()
    features = _last_features(made)
    [gradient] = torch.autograd.grad(score, features)
    weights = gradient.flatten(2).mean(dim=2)
    weighed = torch.einsum("bc,bc...->b...", weights, features.detach())
    return _enlarged(weighed.clamp(min=0)[:, None], subject.size)


def attention_rollout(subject: Subject) -> Tensor:
    """Return how much of each patch reaches the class token of a transformer (*S).

    The product over the blocks of (A + I) / 2, where A is the mean over the heads (Abnar and Zuidema, ACL
    2020, section 3). It is not of one class: all of them read the same token.

    Raises:
        RunError: The network has no attention with a class token.
    """
    blocks = list(_attending(subject.networks))
    with _saved(blocks), _recorded(subject.networks, subject.image.dim()) as made:
        subject.scores(subject.image)
        held = [block.att_mat.mean(dim=1) for block in blocks]
    patches = next((output.shape[2:] for layer, output in made if isinstance(layer, _CONVOLUTIONS)), None)
    if not held or patches is None or held[0].shape[-1] != 1 + patches.numel():
        raise RunError(
            "the network has no attention between patches with a class token; 'vit' has",
            where="--explain attention",
            remedy="Take another method, such as grad-cam.",
        )
    identity = torch.eye(held[0].shape[-1]).to(held[0])
    reached = identity
    for own in held:
        reached = (own + identity) / 2 @ reached
    return _enlarged(reached[:, 0, 1:].reshape(1, 1, *patches), subject.size)


def _attending(networks: Sequence[nn.Module]) -> Iterator[SABlock]:
    for network in networks:
        yield from (module for module in network.modules() if isinstance(module, SABlock))


@contextmanager
def _saved(blocks: Sequence[SABlock]) -> Iterator[None]:
    """Let attention be kept, and forget it at the end."""
    for block in blocks:
        block.save_attn = True
    try:
        yield
    finally:
        for block in blocks:
            block.save_attn, block.att_mat = False, torch.Tensor()


@contextmanager
def _recorded(networks: Sequence[nn.Module], axes: int) -> Iterator[_Made]:
    """Give a list that gets each layer with what it made, where that is a map of as many axes."""
    made: _Made = []

    def record(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == axes:
            made.append((layer, output))

    layers = (module for own in networks for module in own.modules() if not list(module.children()))
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()


def _last_features(made: _Made) -> Tensor:
    sizes = [output.shape[2:] for layer, output in made if isinstance(layer, _CONVOLUTIONS)]
    if not sizes:
        raise RunError(
            "the network has no convolution that sees the image",
            where="--explain grad-cam",
            remedy="Take a method that looks at images alone, such as occlusion.",
        )
    return next(output for _, output in reversed(made) if output.shape[2:] == sizes[-1])


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return a map (1, 1, *S) as large as the image (*S)."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return functional.interpolate(maps, list(size), mode=mode)[0, 0]
