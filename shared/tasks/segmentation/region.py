"""Where pixels count, such as the field of view of a camera: what is outside is background for sure."""

import torch
from torch import Tensor

from shared.batch import Batch
from shared.tasks.segmentation.options import REGION

_SURE = 30.0  # logits: a cross-entropy of less than 1e-12


def within(logits: Tensor, batch: Batch) -> Tensor:
    """Return logits (B, 1 + K, *S) that say background outside of the region, where no gradient is."""
    if REGION not in batch:
        return logits
    outside = torch.full_like(logits[:1], -_SURE)
    outside[:, 0] = 0
    return torch.where(batch[REGION][:, None] > 0, logits, outside)
