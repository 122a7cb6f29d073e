"""Rows of two patients each, where a job's samples are pairs that a site makes of its own patients."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from client.data.manifest.rows import SPLITS, Manifest, Record
from shared.errors import DataError
from shared.seeds import seed_of
from shared.tasks.fields import Pairing

Placed = tuple[Record, str]
"""A row, and the side of the split that it is on."""


def with_partners(manifest: Manifest, rows: Sequence[Placed], pairing: Pairing, seed: int) -> list[Placed]:
    """Return each row once with each of its partners: other patients of the same side.

    The patients of a side stand in a circle, in an order that the seed draws, and each is paired with those
    behind him. So every one of them is as often the other's partner as he has partners. The n-th row of a
    patient is paired with the n-th of the other; a side with one patient has no pairs.

    Args:
        manifest: Theirs, for errors.
        rows: Those of one site that take part.
        pairing: Which columns are filled.
        seed: Of the job.

    Raises:
        DataError: The manifest has a column that is to be filled.
    """
    for column in pairing.columns:
        if column in manifest.columns:
            raise DataError(
                f"has a column '{column}', which the job fills with other patients' files",
                where=manifest.path,
                remedy="Let the job take the pairs of the manifest ([task] pairs = 'rows'), or rename it.",
            )
    return [
        (record, side)
        for side in SPLITS
        for record in _paired([record for record, own in rows if own == side], pairing, seed)
    ]


def _paired(records: Sequence[Record], pairing: Pairing, seed: int) -> Iterator[Record]:
    rows: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        rows[record.patient].append(record)
    circle = sorted(rows, key=lambda patient: (seed_of(seed, "partner", patient), patient))
    for place, patient in enumerate(circle):
        behind = [circle[(place + step) % len(circle)] for step in range(1, len(circle))]
        for number, record in enumerate(rows[patient]):
            for other in behind[: pairing.partners]:
                partner = rows[other][number % len(rows[other])]
                filled = {new: partner.cells.get(old, "") for new, old in pairing.columns.items()}
                yield replace(record, cells=record.cells | filled)
