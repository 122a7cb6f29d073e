"""Tasks that see the columns of a table, an image, or both: what their jobs may say of it."""

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from shared.metrics.statistic_spec import StatisticSpec
from shared.networks import Ends
from shared.table import Label, check_distinct, later_key
from shared.tasks.fields import Field as SampleField
from shared.tasks.options import TaskOptions

if TYPE_CHECKING:
    from shared.job.data_options import DataTable

COLUMNS = "columns"
"""Name of the statistic: moments of the columns of numbers."""

SeesImage = Annotated[
    bool,
    Field(
        description="The network sees an image; beside columns there are [model.image], [model.record] and "
        "[model.fusion], which brings the features of both together."
    ),
]
SeenColumns = Annotated[
    list[Label], Field(max_length=1024, description="Columns of the manifest that the network sees.")
]
Categories = Annotated[
    dict[Label, Annotated[list[Label], Field(min_length=1, max_length=1024)]],
    Field(
        max_length=1024,
        examples=[{"sex": ["female", "male"]}],
        description="Values of each column that is not a number: the network sees 0 or 1 for each of them.",
    ),
]
Scaling = Annotated[
    dict[Label, Annotated[list[float], Field(min_length=2, max_length=2)]] | None,
    Field(
        max_length=1024,
        examples=[{"age": [60.0, 12.0]}],
        description="Mean and standard deviation of each column of numbers, as publicly known; without it "
        "those of all sites' training patients.",
    ),
]
Indicators = Annotated[
    bool,
    Field(description="The network also sees, for each column of numbers, 1 where it is missing."),
]

_FEATURES = 32
_FEW = 6  # columns that a line names


class RecordOptions(TaskOptions):
    """A task whose network sees an image, the columns of a table (a record), or both."""

    image: SeesImage = later_key(True)  # a job without these keys keeps its digest
    columns: SeenColumns = later_key([], examples=[["age", "sex"]])
    categories: Categories = later_key({})
    scaling: Scaling = Field(None, exclude_if=operator.not_)
    indicators: Indicators = later_key(False)
    clip: float | None = later_key(
        None,
        ge=1,
        examples=[5.0],
        description="Standard deviations from the mean, beyond which a number of a column is taken as this.",
    )
    features: int = later_key(
        _FEATURES,
        ge=1,
        le=4096,
        description="Beside columns, an image: numbers that [model.image] and [model.record] give to "
        "[model.fusion].",
    )
    missing_images: bool = later_key(
        False,
        description="Beside columns, an image: rows may lack it (an empty cell). A learned token stands in "
        "for it, as for a record of which nothing is known.",
    )

    @property
    def predicted_columns(self) -> Sequence[str]:
        """Columns that are to be predicted, so that the network must not see them."""
        return ()

    @property
    def numbers(self) -> list[str]:
        """The columns that are numbers."""
        return [name for name in self.columns if name not in self.categories]

    @property
    def scaled_columns(self) -> list[str]:
        """The columns whose mean and deviation must be known."""
        return self.numbers

    @property
    def column_names(self) -> list[str]:
        """A name for each number of a record as it is read, such as 'age' and 'sex=male'."""
        return [
            f"{name}={value}" if name in self.categories else name
            for name in self.columns
            for value in self.categories.get(name, [name])
        ]

    @property
    def record_inputs(self) -> int:
        """Numbers that a network sees of a record."""
        return len(self.column_names) + (len(self.numbers) if self.indicators else 0)

    @property
    def is_fused(self) -> bool:
        """Whether an image and a record are seen."""
        return self.image and bool(self.columns)

    @property
    def sees_images_alone(self) -> bool:
        """Whether there are no columns to see."""
        return not self.columns

    @property
    def seen(self) -> str:
        """What the network sees, in words."""
        if self.sees_images_alone:
            return "images"
        few = len(self.columns) <= _FEW
        columns = ", ".join(self.columns) if few else f"{len(self.columns)} columns"
        return f"{columns} and images" if self.image else columns

    def inputs(self) -> dict[str, SampleField]:
        """Return the fields that the network sees."""
        categories = {name: tuple(values) for name, values in self.categories.items()}
        record = SampleField("table", columns=tuple(self.columns), categories=categories)
        return {
            **({"image": SampleField("image", required=not self.missing_images)} if self.image else {}),
            **({"record": record} if self.columns else {}),
        }

    def input_networks(self, data: "DataTable", outputs: int) -> dict[str, Ends]:
        """Return one network for what is seen; of an image and a record one each, and one for both."""
        if self.is_fused:
            return {
                "image": Ends.of(data, self.features, "vector"),
                "record": Ends.of_table(self.record_inputs, self.features),
                "fusion": Ends.of_features(self.features, outputs),
            }
        if self.image:
            return {"model": Ends.of(data, outputs, "vector")}
        return {"model": Ends.of_table(self.record_inputs, outputs)}

    def column_statistics(self) -> tuple[StatisticSpec, ...]:
        """Return the moments of the columns, where the job does not state them."""
        return () if self.scaling is not None else moments_of(COLUMNS, self.numbers)

    @model_validator(mode="after")
    def _columns(self) -> Self:
        if not self.columns and not self.image:
            raise ValueError("columns: name some, or set image = true: the network sees nothing")
        check_distinct("columns", self.columns)
        if unknown := [name for name in self.categories if name not in self.columns]:
            raise ValueError(f"categories: '{unknown[0]}' is not among the columns")
        if twice := [name for name, values in self.categories.items() if len(set(values)) != len(values)]:
            raise ValueError(f"categories: a value of '{twice[0]}' appears twice")
        if told := [name for name in self.predicted_columns if name in self.columns]:
            raise ValueError(f"columns: '{told[0]}' is what is to be predicted")
        for key in ("indicators", "clip"):
            if getattr(self, key) and not self.numbers:
                raise ValueError(f"{key}: is about columns of numbers, and there is none")
        if self.missing_images and not self.is_fused:
            raise ValueError("missing_images: needs image = true and columns: one stands in for the other")
        if self.scaling is not None:
            self._check_scaling(self.scaling)
        return self

    def _check_scaling(self, scaling: Mapping[str, list[float]]) -> None:
        if set(scaling) != set(self.scaled_columns):
            odd = sorted(set(scaling) ^ set(self.scaled_columns))[0]
            problem = "is not a column of numbers" if odd in scaling else "is missing"
            raise ValueError(f"scaling: '{odd}' {problem}; it needs every column of numbers, and no other")
        if flat := [name for name, (_, deviation) in scaling.items() if deviation <= 0]:
            raise ValueError(f"scaling: the standard deviation of '{flat[0]}' must be above 0")


def moments_of(name: str, columns: Sequence[str], key: str = "scaling") -> tuple[StatisticSpec, ...]:
    """Return the statistic of the moments of columns, if there are any; a job may state them in `key`."""
    instead = f"give [task] {key}: mean and standard deviation of each column as publicly known"
    return (StatisticSpec.moments(name, columns).unless(instead),) if columns else ()
