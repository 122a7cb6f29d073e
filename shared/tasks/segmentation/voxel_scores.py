"""Accuracy, sensitivity, specificity and AUROC of voxels, from histograms of their scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from shared.batch import Batch
from shared.metrics.curves import Curves
from shared.tasks.precision import full
from shared.tasks.segmentation.options import REGION

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 128
_RANGE = 8.0  # logits at either end, beyond which bins are open
_EDGES = np.linspace(-_RANGE, _RANGE, BINS + 1)[None, 1:-1]


def score_counts(logits: Tensor, targets: Tensor, batch: Batch) -> Tensor:
    """Count the voxels in each bin of their score: the log of the odds of a structure against all else.

    Args:
        logits: (B, 1 + K, *S).
        targets: Class indices (B, *S).
        batch: May say in which region voxels count.

    Returns:
        int64 (B, 2, BINS, K) on the CPU: voxels of the structure, and others.
    """
    shares = full(logits).log_softmax(dim=1)[:, 1:].flatten(2)
    odds = shares - torch.log1p(-shares.exp().clamp(max=1 - 1e-7))
    place = ((odds + _RANGE) / (2 * _RANGE) * BINS).floor().long().clamp(0, BINS - 1)
    structures = place.shape[1]
    kinds = torch.arange(1, structures + 1, device=place.device)[None, :, None]
    other = (targets.flatten(1)[:, None] != kinds).long()
    image = torch.arange(len(place), device=place.device)[:, None, None]
    index = ((image * 2 + other) * BINS + place) * structures + kinds - 1
    if REGION in batch:
        index = index[(batch[REGION].flatten(1)[:, None] > 0).expand_as(index)]
    counts = torch.bincount(index.flatten(), minlength=len(place) * 2 * BINS * structures)
    return counts.reshape(len(place), 2, BINS, structures).cpu()


def voxel_figures(counts: Tensor, overlap: Tensor) -> Mapping[str, Tensor]:
    """Return the metrics of voxels, each (K,); not a number where there are none.

    Args:
        counts: (2, BINS, K) of all images.
        overlap: Voxels found, added and missed (3, K).
    """
    found, added, missed = overlap.double()
    every = counts.sum(dim=(0, 1)).double()
    curves = Curves(np.tile(_EDGES, (counts.shape[-1], 1)), *_by_structure(counts))
    return {
        "accuracy": (every - added - missed) / every,
        "sensitivity": found / (found + missed),
        "specificity": (every - found - added - missed) / (every - found - missed),
        "auroc": torch.from_numpy(np.asarray(curves.auroc(), np.float64)),
    }


def _by_structure(counts: Tensor) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    right, wrong = (part.T.contiguous().numpy() for part in counts)
    return right, wrong
