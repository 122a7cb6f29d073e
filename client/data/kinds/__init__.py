"""The kinds of fields, each in a module of its own."""

from collections.abc import Mapping

from client.data.kinds.base import Kind
from client.data.kinds.boxes import BoxesKind
from client.data.kinds.event import EventKind
from client.data.kinds.frames import SeriesKind, TilesKind
from client.data.kinds.image import ImageKind
from client.data.kinds.label import LabelKind
from client.data.kinds.mask import MaskKind
from client.data.kinds.number import NumberKind
from client.data.kinds.points import PointsKind
from client.data.kinds.table import TableKind
from client.data.kinds.vectors import VectorsKind
from shared.job.schema import DataTable, JobSpec
from shared.tasks.fields import Field, fields_of

KINDS: dict[str, type[Kind]] = {
    "image": ImageKind,
    "mask": MaskKind,
    "label": LabelKind,
    "number": NumberKind,
    "event": EventKind,
    "table": TableKind,
    "boxes": BoxesKind,
    "points": PointsKind,
    "tiles": TilesKind,
    "series": SeriesKind,
    "vectors": VectorsKind,
}

__all__ = ["KINDS", "Kind", "first_of_kind", "kinds_of", "make_kinds"]


def make_kinds(fields: Mapping[str, Field], data: DataTable) -> dict[str, Kind]:
    """Return what reads each field, by its name."""
    return {name: KINDS[field.kind](name, field.of_columns(name), data) for name, field in fields.items()}


def kinds_of(job: JobSpec) -> dict[str, Kind]:
    """Return what reads each field of a job's samples."""
    return make_kinds(fields_of(job), job.data)


def first_of_kind(kinds: Mapping[str, Kind], kind: str) -> str:
    """Return the name of the first field of a kind; nothing where there is none."""
    return next((name for name, own in kinds.items() if own.field.kind == kind), "")
