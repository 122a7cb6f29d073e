"""A registration as one module that knows nothing of Wardround: what is exported."""

import torch
from torch import Tensor, nn

from shared.tasks.registration.deformation import Deformation
from shared.tasks.whole_images import padded


class Registers(nn.Module):
    """Two images to the field between them."""

    def __init__(self, model: nn.Module, deformation: Deformation, *, affine: bool) -> None:
        super().__init__()
        self.model, self.deformation = model, deformation
        self._affine = affine

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the field (B, D, *S) of images (B, C, *S)."""
        seen = torch.cat([fixed, moving], dim=1)
        field: Tensor = self.deformation(self.model(seen) if self._affine else padded(self.model, seen))
        return field
