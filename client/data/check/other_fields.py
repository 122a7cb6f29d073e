"""What `data check` counts of the fields that it has no figures of its own for."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from client.data.check.burned_in_text import TextFinder
from client.data.kinds import Kind, first_of_kind
from client.data.kinds.cells import is_missing
from client.data.kinds.row_images import NOTHING, read_scene
from client.data.kinds.series import SeriesKind
from client.data.kinds.tally import Tally
from client.data.manifest.pooled_sites import Row
from client.data.manifest.rows import Record
from shared.job.schema import JobSpec
from shared.text.names import shown
from shared.text.plural import many

_MOST_LOOKED_AT = 16  # frames of a series, in which text is looked for


def has_text(kind: Kind, record: Record, finder: TextFinder, name: Hashable) -> bool:
    """Say whether text is surely written into frames of a series; of others the finder tells by the name."""
    if not isinstance(kind, SeriesKind):
        return False
    frames = [picture.array for _, picture in kind.pictures(record, NOTHING)]
    step = -(-len(frames) // _MOST_LOOKED_AT)
    return any(finder.look(name, frame) for frame in frames[::step])


def further(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the kinds of all fields but the first image, the first mask and the first label."""
    reported = {first_of_kind(kinds, kind) for kind in ("image", "mask", "label")}
    return {name: kind for name, kind in kinds.items() if name not in reported}


def count_in(tally: Tally, kind: Kind, record: Record, kinds: Mapping[str, Kind]) -> NDArray[Any]:
    """Read a row's value of one field, count it, and return it.

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
    kind.describe(record, tally)
    files = kind.files(record)
    if len(set(files)) < len(files):
        tally.doubtful[f"one file stands several times in the {kind.name} of a row"] += 1
    value = kind.read(record, scene)
    kind.tally(value, tally)
    return value


def ungrouped(job: JobSpec | None, rows: Sequence[Row]) -> Iterator[str]:
    """Yield of which rows of the test a column says nothing by which the job groups patients.

    A site judges all the same: an error would leave it, and tell of one patient.
    """
    tests = [row for row in rows if row.side == "test"]
    for own in () if job is None else job.evaluation.groups:
        cells = [(row, row.record.cells.get(own.column, "").strip()) for row in tests]
        odd = [(row, cell) for row, cell in cells if own.place_of(cell) is None and not is_missing(cell)]
        if odd:
            row, cell = odd[0]
            why = "is not a number" if own.ends else "is not among the values of the job"
            yield (
                f"{many(len(odd), 'row')} of the test in no group of the column '{own.column}': in "
                f"{row.where} '{shown(cell)}' {why}"
            )
