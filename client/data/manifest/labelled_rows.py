"""Which rows take part in a job of which some may have no label, and whose labels are used."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from client.data.manifest.rows import Record
from client.data.manifest.splits import Split

if TYPE_CHECKING:
    from client.data.kinds import Kind

Pairs = list[tuple[Record, str]]
"""Records, each with its side of the split."""


def taking_part(
    pairs: Pairs, kinds: Mapping[str, "Kind"], target: str, split: Split, *, learns_unlabelled: bool
) -> Pairs:
    """Return the rows of a site that take part: all where every row must have its targets.

    Of a job that says what becomes of rows without one they train, where it learns from them; nothing is
    judged by them. Where the site uses the labels of a share of its patients, those of the others are empty.

    Args:
        pairs: All rows of the site.
        kinds: Of the job's fields.
        target: The field that is a row's label.
        split: The site's.
        learns_unlabelled: Whether the job trains on rows without a label.
    """
    targets = [kind for name, kind in kinds.items() if name == target and kind.field.partly_known]
    if not targets:
        return pairs
    if split.shares.labelled < 1:
        pairs = _with_few(pairs, targets, split)
    return [
        (record, side)
        for record, side in pairs
        if not _is_unlabelled(record, targets) or (side == "train" and learns_unlabelled)
    ]


def _with_few(pairs: Pairs, targets: Sequence["Kind"], split: Split) -> Pairs:
    trained = {
        record.patient for record, side in pairs if side == "train" and not _is_unlabelled(record, targets)
    }
    if not trained:
        return pairs
    kept = split.labelled(trained)
    columns = [column for kind in targets for column in kind.columns]
    return [
        (record if side != "train" or record.patient in kept else _without(record, columns), side)
        for record, side in pairs
    ]


def _without(record: Record, columns: Sequence[str]) -> Record:
    cells = record.cells | dict.fromkeys(columns, "")
    return replace(record, cells=cells, label=cells.get("label"), mask=None)


def _is_unlabelled(record: Record, targets: Sequence["Kind"]) -> bool:
    return any(kind.is_unknown(record) for kind in targets)
