"""The job: what a researcher asks for, as validated data.

A job names networks, losses, transforms and strategies; nothing in it is imported, evaluated or unpickled.
Its identity is the SHA-256 of its canonical JSON, which does not depend on key order, comments or on how a
number is spelt.
"""

import hashlib
import json
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from shared.errors import JobError
from shared.further_metrics import METRICS, MetricOptions
from shared.job.augmentations import Augmentation
from shared.job.bounds import check_bounds
from shared.job.errors import describe
from shared.job.training_options import TrainingTable
from shared.networks import NETWORKS, NetworkOptions
from shared.networks.options import Part
from shared.privacy.options import PrivacyTable
from shared.strategies import STRATEGIES, StrategyOptions
from shared.table import ONE, SEVERAL, Label, Name, Positive, Table
from shared.tasks import TASKS
from shared.tasks.options import TaskOptions
from shared.toml_files import read_toml


def _one_or_several(model: Any) -> str:
    """Say whether `[model]` is one network's table, or has a table for each of several."""
    if not isinstance(model, dict) or not model:
        return ONE
    return SEVERAL if all(isinstance(own, dict | NetworkOptions) for own in model.values()) else ONE


if TYPE_CHECKING:
    Task: TypeAlias = TaskOptions
    Networks: TypeAlias = NetworkOptions | dict[str, NetworkOptions]
    Strategy: TypeAlias = StrategyOptions
    Metric: TypeAlias = MetricOptions
else:
    Task, Network, Strategy = TASKS.union(), NETWORKS.union(), STRATEGIES.union()
    Metric = METRICS.union()
    Networks = Annotated[
        Annotated[Network, Tag(ONE)] | Annotated[dict[str, Network], Tag(SEVERAL)],
        Discriminator(_one_or_several),
    ]


class JobTable(Table):
    """`[job]`: what is trained, on what, how long."""

    name: Name = Field(description="Name of the job, in lower case; run folders are named after it.")
    dataset: Name = Field(description="Name under which each site offers its data.")
    rounds: int = Field(20, ge=1, le=100_000, description="Federated rounds.")
    seed: int = Field(0, ge=0, lt=2**32, description="Every random number of the run comes from this seed.")


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
    augment: list[Augmentation] = Field(
        [],
        max_length=16,
        description="Random changes to training images, seeded by run, round, site and sample.",
    )
    mpp: Positive | None = Field(
        None,
        exclude_if=operator.not_,  # a job without it keeps the digest that it had before there was such a key
        examples=[0.5],
        description="Micrometres of a pixel in the tiles that are cut from whole slides; they are of `size`.",
    )
    tiles: int | None = Field(
        None,
        ge=1,
        le=100_000,
        exclude_if=operator.not_,
        examples=[256],
        description="Tiles with tissue of a slide, at most, drawn from the job's seed; without it all.",
    )
    stain: Literal["reinhard", "macenko"] | None = Field(
        None,
        exclude_if=operator.not_,
        examples=["macenko"],
        description="Brings the colours of tissue in tiles to one stain, slide by slide (docs/bags.md).",
    )
    frames: int | None = Field(
        None,
        ge=1,
        le=10_000,
        exclude_if=operator.not_,
        examples=[16],
        description="Frames of a series, evenly spread over its time; without it all.",
    )
    frame_step: int | None = Field(
        None,
        ge=1,
        le=10_000,
        exclude_if=operator.not_,
        examples=[4],
        description="Every so manieth frame of a series, from the first; not beside `frames`.",
    )
    fold: int | None = Field(
        None,
        ge=1,
        le=20,
        examples=[1],
        description="Choose the best round on this fold of each site's patients (of those who do not test) "
        "instead of the site's own validation patients. Each site says how many folds it has (5 by default).",
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


class EvaluationTable(Table):
    """`[evaluation]`: what is measured, how often, and which round is the best."""

    every: int = Field(1, ge=1, description="Rounds between two evaluations on the validation patients.")
    select_best: str | None = Field(
        None,
        max_length=200,
        examples=["loss"],
        description="Metric that names the best round; without it the last round is the result.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        examples=[10],
        description="Stop after so many evaluations without a better one; needs select_best.",
    )
    bins: int = Field(
        200,
        ge=10,
        le=1000,
        description="Most bins of scores for AUROC and average precision. There is never more than one for "
        "ten patients (docs/metrics.md).",
    )

    metrics: list[Metric] = Field(
        [],
        max_length=16,
        exclude_if=operator.not_,  # a job without it keeps the digest that it had before there was such a key
        examples=[[{"name": "brier"}]],
        description="Metrics besides those of the task (docs/metrics.md).",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({metric.name for metric in self.metrics}) != len(self.metrics):
            raise ValueError("metrics: a name appears twice")
        return self

    @model_validator(mode="after")
    def _patience(self) -> Self:
        if self.patience is not None and self.select_best is None:
            raise ValueError("patience: needs select_best")
        return self


class UpdateTable(Table):
    """`[update]`: what of the trained model each site sends, and how (docs/update-filters.md)."""

    parts: list[Part] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        examples=[["head"]],
        description="Modules of the network that are trained and sent, by their names in it; the rest stays "
        "as it is in the first model. Without it all of the network.",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the numbers that are sent."
    )
    compression: Literal["none", "int8", "top-k"] = Field(
        "none",
        description="'int8': 8 bits for each number; 'top-k': only the largest numbers. What is left out is "
        "kept at the site and added in its next round (error feedback).",
    )
    keep: float | None = Field(
        None, gt=0, le=0.5, examples=[0.05], description="top-k: share of the numbers that is sent."
    )
    clip: float | None = Field(
        None,
        gt=0,
        examples=[10.0],
        description="Largest L2 norm of what a site changes in a round; a larger change is scaled down.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.keep is not None) != (self.compression == "top-k"):
            raise ValueError("keep: is needed with compression = 'top-k', and only there")
        if self.compression == "int8" and self.precision != "float32":
            raise ValueError("precision: with compression = 'int8' each number has 8 bits; leave it out")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the whole model is sent, as it is."""
        return self == UpdateTable()

    @property
    def bits(self) -> int:
        """Bits of each number of the update that is sent."""
        return 8 if self.compression == "int8" else 32 if self.precision == "float32" else 16


_MOVED = {  # keys of earlier job files, and what they are called in [task]
    "job": {"task": "name"},
    "data": {key: key for key in ("classes", "multi_label", "labels", "mask")},
    "training": {key: key for key in ("loss", "class_weights", "class_shares")},
    "evaluation": {key: key for key in ("distances", "surface_tolerance")},
}


class JobSpec(Table):
    """A job: what a researcher asks for, in one TOML file."""

    job: JobTable
    task: Task
    model: Networks
    data: DataTable = DataTable()
    training: TrainingTable
    strategy: Strategy
    evaluation: EvaluationTable = EvaluationTable()
    privacy: PrivacyTable = PrivacyTable()
    update: UpdateTable = UpdateTable()

    @model_validator(mode="before")
    @classmethod
    def _nothing_moved(cls, tables: Any) -> Any:
        found = [
            f"[{table}] {key} is now [task] {new}"
            for table, keys in _MOVED.items()
            for key, new in keys.items()
            if isinstance(tables, dict) and isinstance(tables.get(table), dict) and key in tables[table]
        ]
        if found:
            raise ValueError(f"the options of the task have a table of their own: {'; '.join(found)}")
        return tables

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        from shared.job.rules import check  # noqa: PLC0415 (the rules import the tables)

        check(self)
        return self

    def canonical(self) -> str:
        """Return the job as JSON with sorted keys and every default written out."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )

    def evaluates(self, round_: int) -> bool:
        """Say whether the model after a round is evaluated on the validation patients."""
        return round_ % self.evaluation.every == 0 or round_ == self.job.rounds

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def parse_job(table: dict[str, Any], where: object) -> JobSpec:
    """Validate a job given as nested tables.

    Raises:
        JobError: With the problems found: table, key, what was expected, the nearest valid name.
    """
    check_bounds(table, where)
    try:
        return JobSpec.model_validate(table, strict=True)
    except ValidationError as error:
        raise JobError(describe(error, JobSpec), where=where) from None


def load_job(path: Path, overrides: dict[str, Any] | None = None) -> JobSpec:
    """Read a job file; `overrides` maps dotted keys ('training.learning_rate') to values.

    Raises:
        JobError: The file is missing, is not TOML, or is not a valid job.
    """
    table = read_toml(path, JobError)
    override(table, overrides or {}, path)
    return parse_job(table, path)


def override(table: dict[str, Any], values: dict[str, Any], path: Path | None) -> None:
    """Set keys of a job's table, given as dotted keys ('training.learning_rate').

    Raises:
        JobError: One names no key.
    """
    for dotted, value in values.items():
        _override(table, dotted, value, path)


def _override(table: dict[str, Any], dotted: str, value: object, path: Path | None) -> None:
    *heads, key = dotted.split(".")
    if len(heads) not in (1, 2) or not key:
        raise JobError(
            f"'{dotted}' names no key of the job", where=path, remedy="Write --set table.key=value."
        )
    for depth, head in enumerate(heads, 1):
        table = table.setdefault(head, {})
        if not isinstance(table, dict):
            raise JobError(f"[{'.'.join(heads[:depth])}] must be a table", where=path)
    table[key] = value
