"""What a job may say about a registration."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.metrics.spec import MetricSpec
from shared.networks import Ends
from shared.table import Label, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.fields import Pairing
from shared.tasks.options import TaskOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable
    from shared.job.schema import JobSpec
    from shared.tasks.registration.task import RegistrationTask

LEAST_PIXELS = 8  # along each axis: second derivatives of a field need some
AFFINE, FIELD = "affine", "field"
"""Roles of two networks, of which the first gives a matrix."""

_UNIT = ("minmax", "percentile", "window")  # intensities within 0 and 1


class Registration(TaskOptions):
    """Moves one image onto another, by a displacement for each pixel (Balakrishnan et al. 2019)."""

    declared: ClassVar[Mapping[str, SampleField]] = {
        "fixed": SampleField("image"),
        "moving": SampleField("image"),
    }
    example: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "task": {},
        "model": {"name": "unet"},
        "data": {"size": [64, 64], "intensity": "percentile"},
        "training": {"local_epochs": 1, "keep_optimizer": True},
        "strategy": {"name": "fedavg"},
        "evaluation": {"select_best": "dissimilarity"},
    }

    name: Literal["registration"]
    pairs: Literal["site", "rows"] = Field(
        "site",
        description="Where pairs come from: each site pairs its own patients, those of one side of the "
        "split; or each row of the manifest has both images.",
    )
    partners: int = Field(
        4, ge=1, le=1000, description="Other patients with whom a site pairs each of its images, at most."
    )
    moving: list[Label] = Field(
        ["moving"],
        min_length=1,
        max_length=64,
        description="Columns of the image that is moved, as many as [data] images; with pairs = 'site' the "
        "site fills them.",
    )
    classes: list[Label] = Field(
        [],
        max_length=256,
        examples=[["anterior", "posterior"]],
        description="Structures of the masks (columns `mask`, and `moving_mask` where rows are pairs), which "
        "judge the result; mask value 1 is the first.",
    )
    points: bool = Field(
        False,
        description="Whether there are landmarks (columns `points` and `moving_points`), which judge the "
        "result.",
    )
    transform: Literal["deformable", "diffeomorphic", "affine"] = Field(
        "diffeomorphic",
        description="A displacement of each pixel; one that is integrated from a velocity, so that it hardly "
        "folds (Dalca et al. 2018); or one matrix.",
    )
    affine_first: bool = later_key(
        False,
        examples=[True],
        description="Whether a matrix comes before the field: [model.affine] moves the image as a whole, "
        "[model.field] its parts. Both learn at once.",
    )
    stride: Literal[1, 2, 4] = Field(
        1, description="Pixels along each axis that share a displacement; it is linear between them."
    )
    similarity: Literal["mse", "lncc", "mutual-information"] = Field(
        "mse",
        description="What training brings together: intensities; local cross-correlation, for images of one "
        "kind whose brightness differs; or mutual information, for images of several kinds.",
    )
    window: int = Field(
        9, ge=3, le=63, multiple_of=1, description="lncc: pixels along each axis that are compared, odd."
    )
    regularisation: Literal["diffusion", "bending"] = Field(
        "diffusion", description="What keeps the field smooth: small first or small second derivatives."
    )
    smoothness: float = Field(0.05, ge=0, le=1e6, description="Weight of the regularisation.")
    overlap: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="Weight of the soft Dice of the structures, where training may see their masks.",
    )
    distances: bool = Field(False, description="Also report the 95th-percentile Hausdorff distance (slow).")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_distinct("classes", self.classes)
        for key in ("overlap", "distances"):
            if getattr(self, key) and not self.classes:
                raise ValueError(f"{key}: needs classes, the structures of the masks")
        if self.affine_first and self.transform == "affine":
            raise ValueError(
                "affine_first: transform = 'affine' is a matrix alone; take another, or leave it out"
            )
        if self.window % 2 == 0:
            raise ValueError(f"window: must be odd, is {self.window}")
        return self

    def fields(self) -> Mapping[str, SampleField]:
        """See the base class: masks and points lie on the image whose name they have."""
        moving = SampleField("image", tuple(self.moving))
        found = {"fixed": self.declared["fixed"], "moving": moving}
        classes = tuple(self.classes)
        for name in ("fixed", "moving"):
            beside = "moving_" if name == "moving" else ""
            if self.classes:
                own = SampleField("mask", (f"{beside}mask",), role="target", grid=name, classes=classes)
                found[f"{name}_mask"] = own
            if self.points:
                found[f"{name}_points"] = SampleField(
                    "points", (f"{beside}points",), role="target", grid=name
                )
        if self.points:
            found["moving_spacing"] = SampleField("spacing", role="target", tells_of="moving")
        return found

    def pairing(self, data: "DataTable") -> Pairing | None:
        """See the base class."""
        if self.pairs == "rows":
            return None
        filled = dict(zip(self.moving, data.images, strict=False))
        filled |= {"moving_mask": "mask"} if self.classes else {}
        filled |= {"moving_points": "points"} if self.points else {}
        return Pairing(filled, self.partners)

    @property
    def subject(self) -> str:
        """See the base class."""
        pairs = "of two patients each" if self.pairs == "site" else "as the manifest has them"
        on = f", judged by {', '.join(self.classes)}" if self.classes else ""
        kind = f"affine and then {self.transform}" if self.affine_first else self.transform
        return f"{kind} registration of pairs of images {pairs}{on}"

    def networks(self, data: "DataTable") -> dict[str, Ends]:
        """Each sees both images as channels: fixed, then moving, as far as it has been moved."""
        axes, size, seen = data.dimensions, data.size or [], 2 * data.channels
        matrix = Ends(axes, seen, axes * (axes + 1), size, "vector")
        field = Ends(axes, seen, axes, size, "map")
        if self.affine_first:
            return {AFFINE: matrix, FIELD: field}
        return {"model": matrix if self.transform == "affine" else field}

    @property
    def times(self) -> tuple[str, ...]:
        """What names of metrics end in: at the end, after a matrix where it comes first, and before."""
        return ("", "_affine", "_before") if self.affine_first else ("", "_before")

    def metrics(self) -> tuple[MetricSpec, ...]:
        """See the base class; what ends in `_before` is of the images as they come."""
        single = self.classes if len(self.classes) > 1 else []
        found = []
        if self.classes:
            found += [
                MetricSpec(f"dice{time}", shown=place, classes=single)
                for place, time in enumerate(self.times, 1)
            ]
        if self.distances:
            found += [
                MetricSpec(f"hd95{time}", lower_is_better=True, classes=single, mean_of=f"hd95{time}")
                for time in self.times
            ]
        if self.points:
            found += [
                MetricSpec(f"tre{time}", lower_is_better=True, shown=place, mean_of=f"tre{time}")
                for place, time in enumerate(self.times, 1 + len(self.times))
            ]
        return (
            *found,
            *(
                MetricSpec(f"dissimilarity{time}", lower_is_better=True, shown=0 if found else place)
                for place, time in enumerate(self.times, 1)
            ),
            MetricSpec("folded", lower_is_better=True, shown=1 + 2 * len(self.times)),
        )

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        images, size = job.data.images, job.data.size or []
        if self.pairs == "site" and len(self.moving) != len(images):
            yield f"[task] moving: names {len(self.moving)} columns, and [data] images {len(images)}"
        if size and min(size) < LEAST_PIXELS:
            yield f"[data] size: at least {LEAST_PIXELS} pixels along each axis, or a field has no shape"
        if any(pixels % self.stride for pixels in size):
            yield f"[task] stride: {self.stride} does not divide [data] size {size}"
        if self.similarity == "mutual-information" and job.data.intensity not in _UNIT:
            yield (
                f"[data] intensity: must be one of {', '.join(_UNIT)} with similarity = "
                "'mutual-information', whose bins are of values within 0 and 1"
            )

    def private_problems(self, job: "JobSpec") -> Iterator[str]:
        """See the base class."""
        if self.pairs == "site":
            yield (
                "[task] pairs: must be 'rows' with 'dp-sgd'; a pair that a site makes is of two patients, "
                "and the noise hides what one patient's own samples change"
            )

    def build(self, job: "JobSpec") -> "RegistrationTask":
        """See the base class."""
        from shared.tasks.registration.task import RegistrationTask

        return RegistrationTask(job, self)
