"""Maps from what a prediction becomes when parts of its image are hidden; they ask for no gradient."""

import math
import warnings

import torch
from monai.visualize import OcclusionSensitivity
from torch import Tensor

from client.explain.by_gradient import Scored
from client.explain.subject import Subject
from shared.seeds import seed_of

_PARTS = 8  # along an axis of a picture
_PARTS_OF_VOLUME = 5
_SAMPLES = 1000  # as many as LIME's own program draws
_WIDTH = 0.25  # of the kernel
_RIDGE = 1.0


def occlusion(subject: Subject) -> Tensor:
    """Return by how much the score falls when the surroundings of each pixel (*S) are hidden.

    A soft window of an eighth of each axis (a fifth in volumes) goes over the image and fades it to zero
    (Zeiler and Fergus, ECCV 2014; MONAI `OcclusionSensitivity`).
    """
    window = [max(min(2, side), side // _parts(subject)) for side in subject.size]
    method = OcclusionSensitivity(
        Scored(subject),
        mask_size=window,
        n_batch=subject.at_once,
        overlap=0.5,
        activate=False,
        verbose=False,
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using a non-tuple sequence")  # of MONAI 1.6's own code
        hidden = torch.as_tensor(method(subject.image)[0])[0, 0]
    return subject.scores(subject.image)[0] - hidden


def lime(subject: Subject) -> Tensor:
    """Return the weight (*S) of the cell in which each pixel lies, in a linear model of the score.

    The model is a ridge regression of the scores of 1000 copies of the image in which half of the cells are
    hidden (zero), weighed by how much is left (Ribeiro, Singh and Guestrin, KDD 2016, section 3.4, with its
    program's kernel). Cells are those of a grid of 8 along each axis (5 in volumes).
    """
    generator = torch.Generator().manual_seed(seed_of(subject.seed, "cells"))
    parts = [min(side, _parts(subject)) for side in subject.size]
    shown = torch.randint(2, (_SAMPLES, math.prod(parts)), generator=generator).double()
    shown[0] = 1
    cells = _cells(subject.size, parts)
    scores = torch.cat(
        [
            subject.scores(subject.image * some[:, cells].to(subject.image)[:, None]).double().cpu()
            for some in shown.split(subject.at_once)
        ]
    )
    alike = shown.mean(dim=1).sqrt()  # the cosine to the image itself
    weights = torch.exp(-((1 - alike) ** 2) / _WIDTH**2)
    return _ridge(shown, scores, weights)[cells].to(subject.image)


def _ridge(shown: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
    """Return the coefficients (K,) of weighted ridge regression with a free constant."""
    weights = weights / weights.sum()
    columns = shown - weights @ shown
    weighed = columns * weights[:, None] * len(scores)
    system = weighed.T @ columns + _RIDGE * torch.eye(shown.shape[1], dtype=shown.dtype)
    return torch.linalg.solve(system, weighed.T @ (scores - weights @ scores))


def _cells(size: tuple[int, ...], parts: list[int]) -> Tensor:
    """Return the number of the cell of each pixel (*S)."""
    along = [torch.arange(side) * count // side for side, count in zip(size, parts, strict=True)]
    cells = torch.zeros(size, dtype=torch.long)
    for places, count in zip(torch.meshgrid(*along, indexing="ij"), parts, strict=True):
        cells = cells * count + places
    return cells


def _parts(subject: Subject) -> int:
    return _PARTS if len(subject.size) == 2 else _PARTS_OF_VOLUME
