"""What `data check` counts of the fields that it has no figures of its own for."""

from collections.abc import Mapping

from client.data.kinds import Kind, first_of_kind
from client.data.kinds.row_images import NOTHING, read_scene
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record


def further(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the kinds of all fields but the first image, the first mask and the first label."""
    reported = {first_of_kind(kinds, kind) for kind in ("image", "mask", "label")}
    return {name: kind for name, kind in kinds.items() if name not in reported}


def count_in(tally: Tally, kind: Kind, record: Record, kinds: Mapping[str, Kind]) -> None:
    """Read a row's value of one field, and count it.

    Args:
        tally: Of the field.
        kind: The field's.
        record: The row.
        kinds: Of all fields: boxes and points are read beside their image.

    Raises:
        DataError: It can't be read, or does not fit the job.
    """
    scene = read_scene(record, kinds, kind.data) if kind.needs_image else NOTHING
    tally.rows += 1
    kind.tally(kind.read(record, scene), tally)
