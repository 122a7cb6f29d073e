"""Plain networks: convolutions, pooling, dense layers."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.networks.options import Ends, Norm, VectorOptions

if TYPE_CHECKING:
    from torch import nn

Layer = tuple[int, int, int] | None
"""(features, kernel, stride) of a convolution; None is pooling."""

Width = Annotated[float, Field(gt=0, le=4, description="Factor on the published features.")]
Hidden = Annotated[int, Field(ge=4, le=8192, description="Numbers of each of the two dense layers.")]

_VGG = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
_FEATURES = (64, 128, 256, 512, 512)
_ALEXNET: list[Layer] = [
    (96, 11, 4),
    None,
    (256, 5, 1),
    None,
    (384, 3, 1),
    (384, 3, 1),
    (256, 3, 1),
    None,
]


class VGGOptions(VectorOptions):
    """VGG (Simonyan and Zisserman 2015) or AlexNet (Krizhevsky et al. 2012); a vector per image, 2D and 3D.

    The dense layers see the mean over positions, so that images may have any size; the job's norm stands in
    the place of AlexNet's local response normalisation.
    """

    name: Literal["vgg"]
    variant: Literal["alexnet", "vgg11", "vgg13", "vgg16", "vgg19"] = Field(
        "vgg11", description="Which convolutions."
    )
    width: Width = 1.0
    hidden: Hidden = 512
    norm: Norm = "group"

    @property
    def stride(self) -> int:
        """Five times pooled; AlexNet's first convolution steps by 4."""
        return 32

    @property
    def layers(self) -> list[Layer]:
        """The convolutions and poolings in their order."""
        if self.variant == "alexnet":
            published = _ALEXNET
        else:
            published = []
            for features, count in zip(_FEATURES, _VGG[self.variant], strict=True):
                published += [(features, 3, 1)] * count + [None]
        return [layer and (max(1, round(layer[0] * self.width)), *layer[1:]) for layer in published]

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        before, total = ends.channels, 0
        for layer in self.layers:
            if layer is not None:
                total += before * layer[0] * layer[1] ** ends.dimensions
                before = layer[0]
        return total + self.hidden * (before + self.hidden + ends.outputs)

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.vector_modules import PlainNetwork

        pool = 3 if self.variant == "alexnet" else 2
        return PlainNetwork(ends, self.layers, pool, self.hidden, self.dropout)
