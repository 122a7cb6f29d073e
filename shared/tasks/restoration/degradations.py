"""How images are spoilt, so that a network learns to restore them: tables in a job, without PyTorch.

The union of the classes is the list of what exists. What each computes is the function of its kind in
`spoiling`, whose arguments are called as the keys are.
"""

from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field

from shared.table import Table

_KIND = Field(description="Which of the degradations.")


class Degradation(Table):
    """One way to spoil an image (C, *S) whose values are within 0 and 1.

    Attributes:
        words: What it does, for people who decide about the job.
        each_pixel: Whether it changes each pixel by itself, another way in each draw.
    """

    words: ClassVar[str]
    each_pixel: ClassVar[bool] = False

    kind: str


class Gaussian(Degradation):
    """Adds normal noise."""

    each_pixel = True
    words = "Gaussian noise"

    kind: Literal["gaussian"] = _KIND
    level: float = Field(0.08, gt=0, le=10, description="Standard deviation, in shares of the range 0 to 1.")


class Rician(Degradation):
    """Noise of an MR magnitude image: normal in both of its channels (Gudbjartsson and Patz 1995)."""

    each_pixel = True
    words = "Rician noise"

    kind: Literal["rician"] = _KIND
    level: float = Field(0.08, gt=0, le=10, description="Standard deviation in each channel.")


class Poisson(Degradation):
    """Noise of counted photons, as of PET, X-ray and microscopy."""

    each_pixel = True
    words = "noise of counts"

    kind: Literal["poisson"] = _KIND
    photons: float = Field(100.0, gt=0, le=1e9, description="Photons that a pixel of value 1 counts.")


class LowDose(Degradation):
    """CT with few photons: each ray counts them, and the noise is reconstructed with the image; in 2D."""

    words = "noise of low-dose CT"

    kind: Literal["low-dose"] = _KIND
    photons: float = Field(2e4, ge=100, le=1e9, description="Photons of a ray before the patient.")
    attenuation: float = Field(
        4.0, gt=0, le=20, description="Line integral through the image's width where all of it is 1."
    )
    angles: int = Field(90, ge=8, le=1024, description="Projections over half a turn.")


class Downsample(Degradation):
    """Means over larger pixels, brought back to the size by linear interpolation: super-resolution."""

    words = "larger pixels"

    kind: Literal["downsample"] = _KIND
    factor: list[Annotated[float, Field(ge=1, le=32)]] = Field(
        [2.0],
        min_length=1,
        max_length=3,
        description="By how much pixels grow along each axis; one number for all of them.",
    )


class Motion(Degradation):
    """A patient who moves while the lines of an MR image are taken: each part of them sees another pose."""

    words = "motion"

    kind: Literal["motion"] = _KIND
    moves: int = Field(4, ge=1, le=64, description="How often the patient moves.")
    shift: float = Field(
        0.03, ge=0, le=0.5, description="Standard deviation of a shift, in shares of the image's length."
    )
    turn: float = Field(
        3.0, ge=0, le=45, description="Standard deviation of a rotation in the image, degrees."
    )


class Bias(Degradation):
    """A smooth field of brightness, as of an uneven MR coil: the image times the exponential of cosines."""

    words = "uneven brightness"

    kind: Literal["bias"] = _KIND
    level: float = Field(0.3, gt=0, le=5, description="Standard deviation of the field's logarithm.")


AnyDegradation = Annotated[
    Union[Gaussian, Rician, Poisson, LowDose, Downsample, Motion, Bias],  # noqa: UP007 (a list to add to)
    Field(discriminator="kind"),
]
