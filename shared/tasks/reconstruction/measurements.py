"""What a scanner is said to measure of an image: tables in a job, without PyTorch.

The union of the classes is the list of what exists; `Measurement.scanner` of each returns its heavy half.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

from pydantic import Field

from shared.table import Table
from shared.tasks.fields import Field as SampleField

if TYPE_CHECKING:
    from shared.tasks.reconstruction.scanner import Scanner

_KIND = Field(description="Which of the measurements.")
_CENTRE = Field(
    0.08,
    gt=0,
    le=0.5,
    description="Share of the lines, in the middle of k-space, that are always measured; coil maps are "
    "estimated from them.",
)


class Measurement(Table):
    """One way to measure an image (1, *S) whose values are within 0 and 1.

    Attributes:
        words: What it is, for people who decide about the job.
        direct: What the image is called that is made of it without training.
        channels: Numbers of each pixel of an image as it is reconstructed: two where they are complex.
        guides: Channels that a network sees beside them: what the measurement says of an image.
        field: Kind of a field whose files hold such a measurement.
    """

    words: ClassVar[str]
    direct: ClassVar[str]
    channels: ClassVar[int] = 1
    guides: ClassVar[int] = 1
    field: ClassVar[str] = "rays"

    kind: str

    def given(self, column: str) -> SampleField:
        """Return the field of a measurement in a file, which is not to be made of an image."""
        return SampleField(self.field, (column,), channels=getattr(self, "angles", None))

    def problems(self, dimensions: int) -> Iterator[str]:
        """Yield what is wrong with it for images of 2 or 3 axes, each after '[task.measurement]'."""
        if dimensions == 3:
            yield f"kind: '{self.kind}' is for pictures; [data] dimensions = 3"

    @abstractmethod
    def scanner(self) -> "Scanner":
        """Return the heavy half; loads PyTorch."""


class KSpace(Measurement):
    """Samples of k-space, the Fourier transform of the image: magnetic resonance.

    Images from disk are magnitudes, so the k-space that is made of them has no phase of its own.
    """

    direct = "zero-filled"
    channels = 2
    guides = 0
    field = "kspace"

    centre: float = _CENTRE
    coils: int = Field(
        1,
        ge=1,
        le=64,
        description="Receive coils. Of several, smooth maps are drawn; the reconstruction estimates them.",
    )
    noise: float = Field(
        0.0, ge=0, le=1, description="Standard deviation of noise in each channel, in shares of the range."
    )
    consistency: float = Field(
        1.0,
        ge=0,
        le=1,
        description="After each step of the network: share of what was measured in what is kept where "
        "something was. 1 keeps the measured samples exactly; 0 leaves all to the network.",
    )

    def problems(self, dimensions: int) -> Iterator[str]:
        """See the base class."""
        yield from ()


class Cartesian(KSpace):
    """Some lines of k-space: those in the middle, and others along the last axis that are drawn."""

    words = "some lines of k-space"

    kind: Literal["cartesian"] = _KIND
    acceleration: float = Field(
        4.0, gt=1, le=64, description="How many times fewer lines are measured than there are."
    )
    pattern: Literal["random", "equispaced", "gaussian"] = Field(
        "random",
        description="Lines beside the middle: each with the same chance; evenly apart from a drawn start; "
        "more of them near the middle.",
    )

    def problems(self, dimensions: int) -> Iterator[str]:
        """See the base class."""
        if self.centre * self.acceleration > 1:
            yield (
                f"centre: {self.centre:g} of the lines are more than the {1 / self.acceleration:.3g} that "
                f"acceleration = {self.acceleration:g} leaves"
            )

    def scanner(self) -> "Scanner":
        """See the base class."""
        from shared.tasks.reconstruction.kspace import KSpaceScanner, lines

        return KSpaceScanner(self, lambda size, source: lines(size, self, source))


class Radial(KSpace):
    """Spokes through the middle of k-space, as the nearest points of its grid; from a drawn first angle."""

    words = "spokes of k-space"

    kind: Literal["radial"] = _KIND
    spokes: int = Field(32, ge=1, le=4096, description="Spokes, evenly apart in angle.")

    def problems(self, dimensions: int) -> Iterator[str]:
        """See the base class."""
        yield from Measurement.problems(self, dimensions)

    def scanner(self) -> "Scanner":
        """See the base class."""
        from shared.tasks.reconstruction.kspace import KSpaceScanner, spokes

        return KSpaceScanner(self, lambda size, source: spokes(size, self, source))


class ParallelBeam(Measurement):
    """CT with parallel rays: few angles, few photons, or both."""

    words = "rays of CT"
    direct = "back-projected"

    kind: Literal["parallel-beam"] = _KIND
    angles: int = Field(60, ge=2, le=2048, description="Projections over half a turn.")
    photons: float | None = Field(
        None,
        ge=10,
        le=1e12,
        examples=[20000.0],
        description="Photons of a ray before the patient, which are counted; without it nothing is noisy.",
    )
    attenuation: float = Field(
        4.0, gt=0, le=20, description="Line integral through the image's width where all of it is 1."
    )

    def scanner(self) -> "Scanner":
        """See the base class."""
        from shared.tasks.reconstruction.projections import BeamScanner

        return BeamScanner(self)


class PET(Measurement):
    """Emission tomography: pairs of photons counted along parallel rays; nothing is absorbed or scattered."""

    words = "counts of PET"
    direct = "ML-EM"

    kind: Literal["pet"] = _KIND
    angles: int = Field(90, ge=2, le=2048, description="Projections over half a turn.")
    counts: float = Field(1e5, ge=100, le=1e12, description="Pairs that are expected of an image in all.")
    iterations: int = Field(
        10, ge=1, le=200, description="Steps of ML-EM (Shepp and Vardi 1982) before the network."
    )

    def scanner(self) -> "Scanner":
        """See the base class."""
        from shared.tasks.reconstruction.projections import PETScanner

        return PETScanner(self)


AnyMeasurement = Annotated[
    Union[Cartesian, Radial, ParallelBeam, PET],  # noqa: UP007 (a list to add to)
    Field(discriminator="kind"),
]
