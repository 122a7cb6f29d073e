"""A registration as one module that knows nothing of Wardround: what is exported."""

from collections.abc import Mapping

from torch import Tensor, nn

from shared.tasks.registration.deformation import Deformation, Moves, fields_of


class Registers(nn.Module):
    """Two images to the field between them."""

    def __init__(
        self, models: Mapping[str, nn.Module], deformation: Deformation, moves: Moves, *, is_matrix: bool
    ) -> None:
        super().__init__()
        self.models, self.deformation, self.moves = nn.ModuleDict(models), deformation, moves
        self._is_matrix = is_matrix

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the field (B, D, *S) of images (B, C, *S)."""
        models = dict(self.models.items())
        return fields_of(models, fixed, moving, self.deformation, self.moves, is_matrix=self._is_matrix).whole
