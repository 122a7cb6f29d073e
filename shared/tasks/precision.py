"""In which numbers losses are computed."""

import torch
from torch import Tensor


def full(values: Tensor) -> Tensor:
    """Return values in float32, or in the float64 that they are in: half the bits are too few for a loss."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
