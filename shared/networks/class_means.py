"""The means of the features of classes, by which an image is given the class that is nearest."""

from typing import TYPE_CHECKING, ClassVar, Literal

from shared.networks.options import Ends, NetworkOptions, Output

if TYPE_CHECKING:
    from torch import nn


class ClassMeansOptions(NetworkOptions):
    """Prototypes of classes (Snell et al. 2017): sums of features and counts, which add up over sites."""

    gives: ClassVar[Output] = "means"
    dimensions: ClassVar[frozenset[int]] = frozenset({0})

    name: Literal["class-means"]

    @property
    def stride(self) -> int:
        """Vectors have no pixels."""
        return 1

    def size_problem(self, size: object) -> str | None:
        """Return None: vectors have no size."""
        return None

    def about_numbers(self, ends: Ends) -> float:
        """See the base class."""
        return (ends.channels + 1) * ends.outputs

    def build(self, ends: Ends) -> "nn.Module":
        """See the base class."""
        from shared.networks.class_means_module import ClassMeans

        return ClassMeans(ends)
