"""What a job may say about a segmentation."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.method_keys import check_keys
from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.table import Label, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import Classes, ClassesOptions
from shared.text.names import suggestion

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.segmentation.task import SegmentationTask

REGION = "region"
"""Name of the field that says where pixels count."""

RATER = "rater "
"""Before a column, the name of the field with a further rater's mask."""

VOXELS = ("accuracy", "sensitivity", "specificity", "auroc")
"""The metrics of single voxels."""

_KEYS_OF = {"tversky_beta": ("tversky", "focal-tversky"), "boundary_weight": ("boundary",)}

Value = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class Segmentation(ClassesOptions):
    """Gives each pixel or voxel a structure, or the background."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "image": SampleField("image"),
        "mask": SampleField("mask", role="target"),
    }
    takes_patches = True
    takes_levels = True
    unweighted: ClassVar[Mapping[str, str]] = {
        "dice": "weighs structures equally",
        "tversky": "weighs structures equally",
        "focal-tversky": "weighs structures by how wrong they are",
        "generalised-dice": "weighs classes by their volume in each image",
        "boundary": "weighs classes by their volume in each image",
    }
    example: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "task": {"classes": ["tumour"], "loss": "dice-ce"},
        "model": {"name": "unet"},
        "data": {"size": [128, 128]},
        "training": {"local_epochs": 1},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "dice_global"},
    }

    name: Literal["segmentation"]
    classes: Classes = Field(description="The structures; mask value 1 is the first, 2 the second.")
    labels: dict[Value, Label] | None = Field(
        None,
        min_length=1,
        max_length=256,
        examples=[{"1": "edema", "4": "core"}],
        description="The class that each value of a mask stands for, or 'background'; without it value 1 is "
        "the first class, 2 the second.",
    )
    mask: Literal["labels", "any"] = Field(
        "labels", description="'any' makes one structure of all values above 0 (a map of instances)."
    )
    loss: Literal[
        "cross-entropy",
        "dice",
        "dice-ce",
        "batch-dice-ce",
        "cldice-ce",
        "focal",
        "tversky",
        "focal-tversky",
        "generalised-dice",
        "boundary",
    ] = Field(
        "cross-entropy",
        description="What training minimises; 'batch-dice-ce' takes the Dice over the batch, not of each "
        "image; 'cldice-ce' keeps the middle lines of tubes, such as vessels, in one piece (docs/tasks.md).",
    )
    tversky_beta: float = later_key(
        0.7,
        gt=0,
        lt=1,
        description="Weight of missed pixels in 'tversky' and 'focal-tversky'; pixels added wrongly have 1 - "
        "tversky_beta.",
    )
    boundary_weight: float = later_key(
        0.01,
        gt=0,
        le=1000,
        description="Weight of the distance to the border, beside the generalised Dice, in 'boundary'.",
    )
    tube_radius: int = later_key(
        5,
        ge=1,
        le=50,
        description="Pixels of the largest radius of a tube, for 'cldice-ce'.",
    )
    masks: list[Label] = later_key(
        [],
        max_length=16,
        examples=[["rater1", "rater2"]],
        description="Columns of the masks of several raters, in place of `mask`. Every row has the first; an "
        "empty cell of another is a rater who has not seen the image.",
    )
    consensus: Literal["mean", "majority", "staple"] = later_key(
        "mean",
        description="Of several raters: training takes the mean of the losses by each, or the loss by one "
        "mask that they agree on, by votes or by STAPLE (Warfield et al. 2004).",
    )
    region: Label | None = later_key(
        None,
        examples=["field_of_view"],
        description="Column of a mask of where pixels count: those outside are neither learnt nor judged, "
        "and are background.",
    )
    voxel_metrics: bool = later_key(
        False,
        description="Also report accuracy, sensitivity, specificity and AUROC of the voxels.",
    )
    keep_largest: list[Label] = later_key(
        [],
        max_length=256,
        examples=[["liver"]],
        description="Structures of whose predicted parts the largest alone stays.",
    )
    least_size: dict[Label, Annotated[int, Field(ge=2, le=2**31)]] = later_key(
        {},
        max_length=256,
        examples=[{"lesion": 20}],
        description="Pixels (voxels) that each predicted part of a structure has at least; smaller ones go.",
    )
    distances: bool = Field(
        False, description="Also report the 95th-percentile Hausdorff distance and surface Dice (slow)."
    )
    surface_tolerance: float = Field(1.0, gt=0, description="Millimetres within which surfaces agree.")

    @model_validator(mode="after")
    def _keys_of_losses(self) -> Self:
        check_keys(self, "loss", _KEYS_OF)
        return self

    @model_validator(mode="after")
    def _postprocessed(self) -> Self:
        for key in ("keep_largest", "least_size"):
            for name in getattr(self, key):
                if name not in self.classes:
                    raise ValueError(f"{key}: '{name}' is not a class; {suggestion(name, self.classes)}")
        return self

    @model_validator(mode="after")
    def _labels(self) -> Self:
        for value, name in (self.labels or {}).items():
            if name not in (*self.classes, "background"):
                close = suggestion(name, self.classes)
                raise ValueError(f"labels: '{value}' is '{name}', which is not a class; {close}")
        if self.mask == "any" and (self.labels is not None or len(self.classes) != 1):
            raise ValueError("mask: 'any' makes one structure, so it needs one class and no labels")
        return self

    @model_validator(mode="after")
    def _raters(self) -> Self:
        if len(self.masks) == 1 or len(set(self.masks)) != len(self.masks):
            raise ValueError("masks: name two columns or more, each once")
        if self.consensus != "mean" and not self.masks:
            raise ValueError("consensus: is about the masks of several raters; name them in masks")
        if self.masks and self.class_weights in ("site", "federation"):
            raise ValueError("class_weights: counts the voxels of one rater; take 'public' with class_shares")
        return self

    @model_validator(mode="after")
    def _region(self) -> Self:
        if self.region in ("mask", *self.masks):
            raise ValueError(f"region: '{self.region}' is what is to be found; name another column")
        if self.region is not None and self.class_weights in ("site", "federation"):
            raise ValueError(
                "class_weights: counts voxels outside of the region too; take 'public' with class_shares"
            )
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class."""
        mask = replace(
            self.declared["mask"],
            classes=tuple(self.classes),
            values=self.label_indices(),
            instances=self.mask == "any",
            partly_known=self.unlabelled is not None,
        )
        found = {**self.declared, "mask": replace(mask, columns=tuple(self.masks[:1]))}
        for name in self.raters[1:]:
            column = name.removeprefix(RATER)
            found[name] = replace(mask, columns=(column,), partly_known=True)
        if self.region is not None:
            found[REGION] = SampleField(
                "mask", (self.region,), role="target", classes=("region",), region=True
            )
        return found

    @property
    def raters(self) -> tuple[str, ...]:
        """The fields of the masks of several raters, that of the first is `mask`; none where there is one."""
        return ("mask", *(f"{RATER}{column}" for column in self.masks[1:])) if self.masks else ()

    @property
    def removed_parts(self) -> dict[str, object]:
        """What is removed from predicted maps, by key; nothing where it is empty."""
        found: dict[str, object] = {"keep_largest": self.keep_largest, "least_size": self.least_size}
        return {key: value for key, value in found.items() if value}

    def label_indices(self) -> dict[int, int] | None:
        """Return the class index that each value of a mask stands for, 0 for the background."""
        if self.labels is None:
            return None
        names = ["background", *self.classes]
        return {int(value): names.index(name) for value, name in self.labels.items()}

    @property
    def counted(self) -> int:
        """See the base class."""
        return 1 + len(self.classes)

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """One logit per pixel for the background and each structure."""
        return {"model": Ends.of(data, 1 + len(self.classes), "map")}

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class."""
        single = self.classes if len(self.classes) > 1 else []
        found = [
            MetricSpec("dice_global", shown=1, classes=single),
            MetricSpec("dice_image", shown=3, classes=single),
            MetricSpec("dice_patient", shown=2, classes=single),
            MetricSpec("iou", shown=4, classes=single),
        ]
        if self.voxel_metrics:
            found += [MetricSpec(name, classes=single) for name in VOXELS]
        if self.masks:
            found += [MetricSpec("dice_rater", classes=self.masks), MetricSpec("dice_between_raters")]
        if self.distances:
            found += [
                MetricSpec("hd95", lower_is_better=True, classes=single),
                MetricSpec("hd95_undefined", lower_is_better=True, classes=single),
                MetricSpec("surface_dice", classes=single),
            ]
        return tuple(found)

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.masks and self.learns_unlabelled:
            yield "[task] masks: go with unlabelled = { method = 'leave-out' } alone"
        if self.masks and self.loss == "batch-dice-ce":
            yield "[task] loss: 'batch-dice-ce' mixes images, of which raters have seen some; take 'dice-ce'"
        if self.loss == "batch-dice-ce" and self.learns_unlabelled:
            yield (
                "[task] loss: 'batch-dice-ce' mixes the images of a batch, of which some lack a mask; take "
                "'dice-ce'"
            )
        yield from super().problems(job)

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.loss == "batch-dice-ce":
            yield (
                "[task] loss: 'batch-dice-ce' mixes the images of a batch, and differential privacy clips "
                "the gradient of each; take 'dice-ce'"
            )
        yield from super().private_problems(job)

    def build(self, job: "JobSpec") -> "SegmentationTask":
        """See the base class."""
        from shared.tasks.segmentation.task import SegmentationTask

        return SegmentationTask(job, self)
