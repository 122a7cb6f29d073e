"""Noise2Void: pixels that are hidden from the network, which then can't learn to repeat their noise."""

import torch
from torch import Generator, Tensor

_REACH = 2  # pixels along each axis, from which another value is taken (Krull et al. 2019, section 3.3)


def hidden(image: Tensor, share: float, source: Generator) -> tuple[Tensor, Tensor]:
    """Return an image (C, *S) with a share of its pixels replaced by neighbours, and which these are (1, *S).

    A pixel's neighbour is drawn from the 5 x 5 (x 5) around it, never itself; beyond the image's end the
    image goes on at the other one.
    """
    shape = image.shape[1:]
    spots = torch.zeros(shape.numel(), dtype=torch.bool)
    spots[torch.randperm(len(spots), generator=source)[: max(1, round(share * len(spots)))]] = True
    places = spots.view(shape).nonzero()
    steps = torch.randint(-_REACH, _REACH + 1, places.shape, generator=source)
    stays = (steps == 0).all(1)
    steps[stays, -1] = 1
    others = (places + steps) % torch.tensor(shape)
    masked = image.clone()
    masked[:, *places.T] = image[:, *others.T]
    return masked, spots.view(1, *shape)
