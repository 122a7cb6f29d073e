"""From the files of a row to what a network sees: resampled, resized, with comparable intensities.

Everything here is deterministic, and the same bits whatever the number of threads: sums run in NumPy.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from client.data.cache.prepared import Prepared
from client.data.kinds.base import Kind
from client.data.kinds.row_images import ImageFilter, read_scene
from client.data.manifest.rows import Record
from shared.job.data_options import DataTable
from shared.tasks.fields import Field

VERSION = 4
"""Of what `prepare` makes of a file: counts up when that changes, so that nothing stored before is taken."""


def preparation_digest(
    kinds: Mapping[str, Kind], data: DataTable, image_filter: ImageFilter | None = None
) -> str:
    """Return the SHA-256 of all that decides what `prepare` makes of a file."""
    stored = {name: kind for name, kind in kinds.items() if not kind.in_manifest}
    settings = frozenset().union(*(kind.settings for kind in stored.values()))
    parts = {
        "version": VERSION,
        "data": data.model_dump(mode="json", include=set(settings)),
        "fields": {name: _identity(kind.field) for name, kind in stored.items()},
        "filter": image_filter.digest if image_filter else "",
    }
    if seeds := {name: kind.seed for name, kind in stored.items() if kind.draws}:
        parts["seeds"] = seeds
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _identity(own: Field) -> list[Any]:
    """Return what of a field decides what is read."""
    values = None if own.values is None else sorted(own.values.items())
    return [own.kind, own.grid, own.classes, values, own.instances]


def prepare(
    record: Record, kinds: Mapping[str, Kind], data: DataTable, image_filter: ImageFilter | None = None
) -> Prepared:
    """Read and fit those fields of a row that come from files.

    Args:
        record: The row.
        kinds: Of all fields.
        data: The job's table [data]: it says what is done.
        image_filter: Changes each image before anything else.

    Raises:
        DataError: A file can't be read or doesn't fit the job, the mask is of another size than the image, or
            the job wants a spacing and the file doesn't say its own.
    """
    scene = read_scene(record, kinds, data, image_filter)
    values = {name: kind.read(record, scene) for name, kind in kinds.items() if not kind.in_manifest}
    return Prepared(values, scene.spacing)
