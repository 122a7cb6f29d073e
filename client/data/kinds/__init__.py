"""The kinds of fields, each in a module of its own."""

from collections.abc import Mapping

from client.data.kinds.base import Kind
from client.data.kinds.boxes import BoxesKind
from client.data.kinds.event import EventKind
from client.data.kinds.image import ImageKind
from client.data.kinds.instances import InstancesKind
from client.data.kinds.kspace import KSpaceKind
from client.data.kinds.label import LabelKind
from client.data.kinds.mask import MaskKind
from client.data.kinds.number import NumberKind
from client.data.kinds.points import PointsKind
from client.data.kinds.rays import RaysKind
from client.data.kinds.scale import ScaleKind
from client.data.kinds.series import SeriesKind
from client.data.kinds.spacing import SpacingKind
from client.data.kinds.table import TableKind
from client.data.kinds.tiles import TilesKind
from client.data.kinds.vectors import VectorsKind
from client.data.kinds.views import ViewsKind
from client.data.kinds.volume import VolumeKind
from shared.errors import JobError
from shared.job.data_options import DataTable
from shared.job.schema import JobSpec
from shared.registry import Installed
from shared.tasks.fields import Field, fields_of, given_fields_of, written_fields_of
from shared.text.names import suggestion

KINDS: Installed[Kind] = Installed(
    "wardround.kinds",
    {
        "image": ImageKind,
        "mask": MaskKind,
        "instances": InstancesKind,
        "label": LabelKind,
        "number": NumberKind,
        "event": EventKind,
        "table": TableKind,
        "boxes": BoxesKind,
        "points": PointsKind,
        "spacing": SpacingKind,
        "tiles": TilesKind,
        "series": SeriesKind,
        "vectors": VectorsKind,
        "views": ViewsKind,
        "scale": ScaleKind,
        "volume": VolumeKind,
        "kspace": KSpaceKind,
        "rays": RaysKind,
    },
    Kind,  # type: ignore[type-abstract]
)
"""The kinds of fields by name, those of installed packages too."""

__all__ = [
    "KINDS",
    "Kind",
    "file_columns",
    "first_of_kind",
    "given_kinds_of",
    "kinds_of",
    "make_kinds",
    "written_kinds_of",
]


def make_kinds(fields: Mapping[str, Field], data: DataTable, seed: int = 0) -> dict[str, Kind]:
    """Return what reads each field, by its name.

    Raises:
        JobError: A field is of a kind that is not installed here.
    """
    for name, field in fields.items():
        if field.kind not in KINDS:
            raise JobError(
                f"the task's field '{name}' is of the kind '{field.kind}', and there is none; "
                f"{suggestion(field.kind, KINDS)}",
                remedy="Is the package installed that adds it?",
            )
    kinds = {name: KINDS[field.kind](name, field.of_columns(name), data) for name, field in fields.items()}
    for kind in kinds.values():
        kind.seed = seed
    return kinds


def kinds_of(job: JobSpec) -> dict[str, Kind]:
    """Return what reads each field of a job's samples.

    Raises:
        JobError: A field is of a kind that is not installed here.
    """
    return make_kinds(fields_of(job), job.data, job.job.seed)


def given_kinds_of(job: JobSpec) -> dict[str, Kind]:
    """Return what reads each field of samples that a trained model is given.

    Raises:
        JobError: A field is of a kind that is not installed here.
    """
    return make_kinds(given_fields_of(job), job.data, job.job.seed)


def written_kinds_of(job: JobSpec) -> dict[str, Kind]:
    """Return what reads the fields that stand in a manifest's row; see `written_fields_of`.

    Raises:
        JobError: A field is of a kind that is not installed here.
    """
    written = written_fields_of(job)
    return {name: kind for name, kind in kinds_of(job).items() if name in written}


def file_columns(job: JobSpec) -> tuple[str, ...]:
    """Return the columns whose cells name files, and the tables beside the manifest, that a job reads.

    Raises:
        JobError: A field is of a kind that is not installed here.
    """
    return tuple(column for kind in written_kinds_of(job).values() for column in kind.file_columns)


def first_of_kind(kinds: Mapping[str, Kind], kind: str) -> str:
    """Return the name of the first field of a kind; nothing where there is none."""
    return next((name for name, own in kinds.items() if own.field.kind == kind), "")
