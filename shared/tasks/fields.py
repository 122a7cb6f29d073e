"""What a sample is made of: named fields of a kind each; their code is in `client.data.kinds`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

Role = Literal["input", "target"]

UNKNOWN_LABEL, UNKNOWN_PIXEL = -1, 255
"""What stands in place of a label, and in each pixel of a mask, that nobody has given."""


@dataclass(frozen=True)
class Field:
    """One field of a sample.

    Attributes:
        kind: How it is read, fitted, moved and stacked: a name of `client.data.kinds.KINDS`.
        columns: The manifest's columns that it is read from; none is the column of the field's own name.
        required: Whether every row must have it.
        role: Inputs are what a model sees; targets are never shaded.
        grid: The field whose grid it lies on. A mask, boxes or points without one lie on the first image. An
            image without one is fitted by itself.
        channels: Of an image: how many; None for as many as the job's images have.
        categories: Of a table: the values of each column that is not a number, in their order.
        classes: Of a label, a mask or boxes: the names, in the order of their indices.
        several: Of a label: a sample may have any number of classes.
        values: Of a mask: the class index that each of its values stands for, 0 is the background; None takes
            the values as they are.
        instances: Of a mask: all values above 0 are one structure.
        region: Of a mask: it says where the others count, and is not to be predicted.
        length: Of vectors: how many numbers each has; 0 takes any number.
        order: Of vectors: the column of their table by which they are ordered, which is none of the numbers.
        tells_of: Of what is read from the files of another field, such as the scale of its values: that
            field. It has no column of its own.
        partly_known: Of a label or a mask: a row whose cell is empty is a sample without one, whose value is
            `UNKNOWN_LABEL`, or `UNKNOWN_PIXEL` everywhere.
    """

    kind: str
    columns: tuple[str, ...] = ()
    required: bool = True
    role: Role = "input"
    grid: str | None = None
    channels: int | None = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    several: bool = False
    values: Mapping[int, int] | None = None
    instances: bool = False
    region: bool = False
    length: int = 0
    order: str | None = None
    tells_of: str | None = None
    partly_known: bool = False

    @property
    def exclusive(self) -> bool:
        """Whether a sample has exactly one of the classes."""
        return self.kind == "label" and not self.several

    @property
    def judged(self) -> list[int]:
        """The classes with curves of their own: of two exclusive ones the second, the positive one."""
        classes = len(self.classes)
        return [1] if classes == 2 and self.exclusive else list(range(classes))

    def of_columns(self, *columns: str) -> "Field":
        """Return the field with these columns where it names none."""
        return self if self.columns else replace(self, columns=columns)


@dataclass(frozen=True)
class Pairing:
    """How a site makes samples of two of its patients each.

    Attributes:
        columns: Each column that is filled, and the column of the other patient's row that it is filled from.
        partners: How many other patients each row is paired with, at most.
    """

    columns: Mapping[str, str]
    partners: int


PIXELS = frozenset({"image", "tiles", "series", "views", "kspace"})
"""The kinds whose values are pixels, or become some."""


def fields_of(job: "JobSpec") -> dict[str, Field]:
    """Return the fields of a job's samples, with the columns that they are read from."""
    return _with_columns(job, job.task.fields())


def given_fields_of(job: "JobSpec") -> dict[str, Field]:
    """Return the same of samples that a trained model is given."""
    return _with_columns(job, job.task.given_fields())


def _with_columns(job: "JobSpec", declared: Mapping[str, Field]) -> dict[str, Field]:
    image = next((name for name, own in declared.items() if own.kind == "image"), None)
    found = {
        name: own.of_columns(*(job.data.images if name == image else (name,)))
        for name, own in declared.items()
    }
    return {
        name: own if own.tells_of is None else replace(own, columns=found[own.tells_of].columns)
        for name, own in found.items()
    }


def written_fields_of(job: "JobSpec") -> dict[str, Field]:
    """Return those of a job's fields that stand in a row itself, not in that of a patient paired with it."""
    pairing = job.task.pairing(job.data)
    filled = pairing.columns.keys() if pairing else frozenset[str]()
    return {name: own for name, own in fields_of(job).items() if not filled & set(own.columns)}


def image_columns_of(job: "JobSpec") -> tuple[str, ...]:
    """Return the columns of the files of a job's first image; none where its samples have no image."""
    has_image = any(own.kind == "image" for own in job.task.fields().values())
    return tuple(job.data.images) if has_image else ()


def may_lack_images(job: "JobSpec") -> bool:
    """Say whether rows of a job may have no image."""
    return any(own.kind == "image" and not own.required for own in job.task.fields().values())


def may_lack_masks(job: "JobSpec") -> bool:
    """Say whether the cell of a manifest's column `mask` may be empty."""
    masks = (own for own in job.task.fields().values() if own.kind == "mask" and own.partly_known)
    return any(own.columns in ((), ("mask",)) for own in masks)


def first_of_role(fields: Mapping[str, Field], role: Role) -> str:
    """Return the name of the first field with a role.

    Raises:
        ValueError: There is none.
    """
    found = next((name for name, own in fields.items() if own.role == role), None)
    if found is None:
        raise ValueError(f"the task has no field that is {role}")
    return found


def needed_columns(fields: Mapping[str, Field]) -> tuple[str, ...]:
    """Return the columns, beside those of images, without which a manifest is of no use to a task.

    A target may be missing in a row, but not in all of them.
    """
    return target_columns({name: own for name, own in fields.items() if own.required or own.role == "target"})


def target_columns(fields: Mapping[str, Field]) -> tuple[str, ...]:
    """Return the columns of the manifest that a task reads beside its images, needed or not."""
    return tuple(
        column
        for name, own in fields.items()
        if own.kind != "image" and own.tells_of is None
        for column in own.columns or (name,)
        if not is_side_table(column)
    )


def numbers_in(field: Field) -> tuple[str, ...]:
    """Return the names of the numbers of a field of the manifest, such as 'age' and 'sex=male'."""
    return tuple(
        name
        for column in field.columns
        for name in ([f"{column}={value}" for value in field.categories.get(column, ())] or [column])
    )


def is_side_table(column: str) -> bool:
    """Say whether a field is read from a table beside the manifest, of this name, and not from a column."""
    return column.lower().endswith(".csv")
