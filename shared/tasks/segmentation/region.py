"""Where pixels count, such as the field of view of a camera: what is outside is background for sure."""

import torch
from torch import Tensor

from shared.batch import Batch
from shared.tasks.segmentation.options import REGION

_SURE = 30.0  # logits: a cross-entropy of less than 1e-12


def within(logits: Tensor, batch: Batch) -> Tensor:
    """Return logits (B, 1 + K, *S), or (B, M, 1 + K, *S) of levels, that say background outside the region.

    There no gradient is.
    """
    if REGION not in batch:
        return logits
    inside = batch[REGION][:, None] > 0
    outside = torch.full_like(logits[:1], -_SURE)
    outside.select(-inside.ndim + 1, 0).zero_()
    return torch.where(inside if logits.ndim == inside.ndim else inside[:, None], logits, outside)
