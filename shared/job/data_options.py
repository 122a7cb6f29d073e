"""What a job may say about its data: `[data]`."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from shared.job.augmentations import Augmentation
from shared.table import Label, Positive, Table, check_distinct, later_key


class DataTable(Table):
    """`[data]`: how images become arrays, the same way at every site."""

    images: list[Label] = Field(
        ["image"],
        min_length=1,
        max_length=64,
        description="Columns of the manifest that hold the image's files, stacked.",
    )
    channels: int = Field(1, ge=1, le=64, description="Channels of an image after stacking.")
    size: list[int] | None = Field(
        None,
        min_length=2,
        max_length=3,
        examples=[[128, 128]],
        description="Pixels (voxels) along each axis; images are resized.",
    )
    spacing: list[Positive] | None = Field(
        None,
        min_length=2,
        max_length=3,
        examples=[[1.0, 1.0]],
        description="Millimetres along each axis; images are resampled.",
    )
    resize: Literal["stretch", "pad", "keep"] = Field(
        "stretch",
        description="How images get their size: each axis by itself; all alike and the rest padded; or they "
        "keep their scale (of `spacing`, where it is given) and are padded alone, so that a larger one is "
        "refused.",
    )
    colour: Literal["rgb", "grey"] | None = Field(
        None,
        examples=["rgb"],
        description="Makes three channels of each grey file, or one (its luminance) of each colour file, so "
        "that both train together; without it files keep their channels.",
    )
    geometry: Literal["strict", "resample", "array"] = Field(
        "strict",
        description="Masks and further channels that lie elsewhere than their image by their own header: "
        "refused; moved to the image's grid; or taken in the image's own order of axes, whatever it says.",
    )
    patch: list[int] | None = Field(
        None,
        min_length=2,
        max_length=3,
        examples=[[96, 96]],
        description="Train on random crops of this size, infer with a sliding window; for tasks with a value "
        "per pixel.",
    )
    dimensions: Literal[2, 3] = Field(2, description="2 for images, 3 for volumes.")
    intensity: Literal["zscore", "minmax", "percentile", "window", "none"] = Field(
        "zscore",
        description="Per image and channel: zero mean and unit variance; to 0..1; the 1st to 99th percentile "
        "to 0..1; `window` to 0..1; unchanged.",
    )
    window: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        examples=[[-1000.0, 400.0]],
        description="Lowest and highest value kept (CT: Hounsfield units).",
    )
    bias_correction: bool = later_key(
        False,
        description="Whether slow changes of brightness across an image are taken out first (N4; for MR): "
        "each channel by itself, docs/differences.md.",
    )
    landmarks: list[Annotated[list[float], Field(min_length=5, max_length=5)]] = later_key(
        [],
        max_length=16,
        examples=[[[0.18, 0.32, 0.45, 0.57, 0.74]]],
        description="Where the percentiles 10, 25, 50, 75 and 90 of an image's bright values come to lie, "
        "between its darkest (0) and brightest (1): for each channel, or once for all. `wardround describe` "
        "gives those of all sites (docs/differences.md). It comes before `intensity`.",
    )
    augment: list[Augmentation] = Field(
        [],
        max_length=16,
        description="Random changes to training images, seeded by run, round, site and sample.",
    )
    modalities: list[Annotated[str, Field(pattern=r"^[A-Z]{2,16}$")]] = later_key(
        [],
        max_length=16,
        examples=[["MR"]],
        description="DICOM modalities that the job is for; images of others are refused, in training and by "
        "`predict`. Files that name none (NIfTI, PNG) are taken.",
    )
    pixel_sizes: list[Annotated[list[Positive], Field(min_length=2, max_length=2)]] = later_key(
        [],
        max_length=3,
        examples=[[[0.5, 1.5], [0.5, 1.5], [0.5, 3.0]]],
        description="Millimetres of the pixels that the job is for, smallest and largest along each axis as "
        "images are read; others are refused, in training and by `predict`.",
    )
    mpp: Positive | None = later_key(
        None,
        examples=[0.5],
        description="Micrometres of a pixel in the tiles that are cut from whole slides; they are of `size`.",
    )
    tiles: int | None = later_key(
        None,
        ge=1,
        le=100_000,
        examples=[256],
        description="Tiles with tissue of a slide, at most, drawn from the job's seed; without it all.",
    )
    stain: Literal["reinhard", "macenko"] | None = later_key(
        None,
        examples=["macenko"],
        description="Brings the colours of tissue in tiles to one stain, slide by slide (docs/bags.md).",
    )
    frames: int | None = later_key(
        None,
        ge=1,
        le=10_000,
        examples=[16],
        description="Frames of a series, evenly spread over its time; without it all.",
    )
    frame_step: int | None = later_key(
        None,
        ge=1,
        le=10_000,
        examples=[4],
        description="Every n-th frame of a series, from the first; not beside `frames`.",
    )
    fold: int | None = Field(
        None,
        ge=1,
        le=20,
        examples=[1],
        description="Choose the best round on this fold of each site's patients (of those who do not test) "
        "instead of the site's own validation patients. Each site says how many folds it has (5 by default).",
    )
    fold_draw: int = later_key(
        1,
        ge=1,
        le=10,
        description="Which of several ways in which each site has drawn its folds, for repeated "
        "cross-validation; with fold.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_shares(cls, table: Any) -> Any:
        for key in ("validation", "test") if isinstance(table, dict) else ():
            if key in table:
                raise ValueError(
                    f"{key}: is not the job's to say; each site fixes its own share (in site.toml "
                    f"[datasets.NAME.split] {key}, or --{key} of a simulation). A job may choose a fold: "
                    "[data] fold = 1"
                )
        return table

    @model_validator(mode="after")
    def _drawn_folds(self) -> Self:
        if self.fold_draw != 1 and self.fold is None:
            raise ValueError("fold_draw: says how the folds are drawn, and no fold is named; add fold")
        return self

    @model_validator(mode="after")
    def _each_image_once(self) -> Self:
        check_distinct("images", self.images)
        return self

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Self:
        if self.pixel_sizes and len(self.pixel_sizes) != self.dimensions:
            raise ValueError(
                f"pixel_sizes: has {len(self.pixel_sizes)} axes, but dimensions = {self.dimensions}"
            )
        if any(low > high for low, high in self.pixel_sizes):
            raise ValueError("pixel_sizes: the smallest stands before the largest")
        return self

    @model_validator(mode="after")
    def _landmarks_ascend(self) -> Self:
        if self.landmarks and len(self.landmarks) not in (1, self.channels):
            raise ValueError(f"landmarks: has {len(self.landmarks)} channels, but channels = {self.channels}")
        if any(not 0 < low < high < 1 for row in self.landmarks for low, high in pairwise(row)):
            raise ValueError("landmarks: must ascend between 0 and 1")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key in ("size", "spacing", "patch"):
            value = getattr(self, key)
            if value is not None and len(value) != self.dimensions:
                raise ValueError(f"{key}: has {len(value)} numbers, but dimensions = {self.dimensions}")
            if value is not None and any(number <= 0 for number in value):
                raise ValueError(f"{key}: every number must be above 0")
        if (self.window is not None) != (self.intensity == "window"):
            raise ValueError("window: is needed with intensity = 'window', and only there")
        if "colour" in self.augment and (self.channels != 3 or self.dimensions != 2):
            raise ValueError("augment: 'colour' is for images of three channels ([data] channels = 3)")
        if self.tiles is not None and self.mpp is None:
            raise ValueError("tiles: is about whole slides, and needs mpp")
        if self.mpp is not None and (self.dimensions != 2 or self.size is None):
            raise ValueError("mpp: needs the size of a tile, [data] size, in two dimensions")
        if self.frames is not None and self.frame_step is not None:
            raise ValueError("frames: and frame_step both say which frames are taken; give one")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ValueError("window: the first number must be below the second")
        return self
