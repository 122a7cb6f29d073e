"""What is shown of one image: its pictures, its histogram and a few facts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.check.expected import Expected
from client.data.images.readers import size
from client.data.kinds import kinds_of
from client.data.kinds.drawing import Drawing
from client.data.kinds.tiles import TilesKind, stack_of
from client.data.look.choice import Chosen
from client.data.look.histogram import Histogram, histogram
from client.data.look.planes import Areas, planes
from client.data.look.stacks import stack_facts, stack_pictures
from client.data.look.tiles import Tile, tiles, window
from client.data.look.views import View, view
from client.data.manifest.rows import Record
from shared.job.schema import JobSpec
from shared.text.plural import many


@dataclass(frozen=True)
class Card:
    """One image on the page.

    Attributes:
        title: Its row and its side of the split.
        why: What it is an extreme of.
        alarm: What is wrong with it in the eyes of a program; may be empty.
        prepared: Its planes as a network gets them.
        augmented: The same after a change as in training; empty where there is none.
        histogram: Of its values; None shows none.
        facts: Names and values.
        stage: What the first tiles are called.
        curve: Horizontal and vertical places of a curve in 0..1; empty shows none.
    """

    title: str
    why: tuple[str, ...]
    alarm: str
    prepared: list[Tile]
    augmented: list[Tile]
    histogram: Histogram | None
    facts: list[tuple[str, str]]
    stage: str = "prepared"
    curve: Sequence[tuple[float, float]] = ()


def card(chosen: Chosen, job: JobSpec | None, names: Sequence[str], seed: int) -> Card:
    """Read an image and return its card.

    Args:
        chosen: The row.
        job: What the data are prepared for, or None.
        names: Of the structures; without a job the values that masks hold.
        seed: Of the augmentation.

    Raises:
        DataError: A file can't be read.
    """
    record = chosen.row.record
    stack = None if job is None else stack_of(kinds_of(job))
    if stack is not None:
        return _stack_card(chosen, job, stack)
    seen = view(record, job, [] if job else [int(name) for name in names], seed)
    ends = window(seen.prepared.image)
    augmented = [] if seen.augmented is None else planes(seen.augmented, seen.spacing)
    return Card(
        title=f"Row {record.row}, {chosen.row.side}",
        why=chosen.why,
        alarm="nothing of its target is left after resizing" if seen.vanished else "",
        prepared=tiles(planes(seen.prepared, seen.spacing, seen.picture.affine), ends),
        augmented=tiles(augmented, ends) if augmented else [],
        histogram=histogram(seen.prepared.image),
        facts=_facts(seen, _label(record, job), names),
    )


def _stack_card(chosen: Chosen, job: JobSpec | None, kind: TilesKind) -> Card:
    shown, values = stack_pictures(chosen.row.record, kind)
    facts = stack_facts(values, kind)
    if (label := _label(chosen.row.record, job)) is not None:
        facts.insert(0, ("label", label or "none"))
    return Card(
        title=f"Row {chosen.row.record.row}, {chosen.row.side}",
        why=chosen.why,
        alarm="",
        prepared=shown,
        augmented=[],
        histogram=histogram(np.moveaxis(values, 1, 0)),
        facts=facts,
    )


def _label(record: Record, job: JobSpec | None) -> str | None:
    if job is None:
        return record.label
    expected = Expected.of(job)
    return expected.label_of(record) if expected.column_of("label") else None


def _facts(seen: View, label: str | None, names: Sequence[str]) -> list[tuple[str, str]]:
    picture, image = seen.picture, seen.prepared.image
    facts = [
        ("size", _change(size(picture.shape), size(image.shape[1:]))),
        ("spacing", _change(_mm(picture.spacing), _mm(seen.spacing))),
        ("values", _change(_values(picture.array), _values(image))),
        ("sides", "from the header" if picture.affine is not None else "the file does not say"),
    ]
    if label is not None:
        facts.insert(0, ("label", label or "none"))
    facts += [("target", text) for own in seen.prepared.drawings for text in _of(own, names)]
    return facts + [("note", note) for note in picture.notes]


def _of(drawing: Drawing, names: Sequence[str]) -> Iterator[str]:
    """Yield what is drawn, in words."""
    if drawing.areas is not None:
        yield _number(drawing.areas) if drawing.instances else _shares(drawing.areas, names)
    if drawing.boxes is not None:
        yield _counts(drawing.boxes, names)
    if drawing.points is not None:
        yield many(int(np.isfinite(drawing.points).all(axis=1).sum()), "point")


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _mm(spacing: tuple[float, ...] | None) -> str:
    return "unknown" if spacing is None else f"{' x '.join(f'{length:.3g}' for length in spacing)} mm"


def _values(array: NDArray[Any]) -> str:
    return f"{np.min(array):.4g} to {np.max(array):.4g}"


def _number(numbers: Areas) -> str:
    """Return '12 instances' of a map of them."""
    return many(int(np.count_nonzero(np.unique(numbers))), "instance")


def _shares(mask: Areas, names: Sequence[str]) -> str:
    """Return 'tumour 3.2 %' of the voxels for each structure, or 'empty'."""
    if not mask.any():
        return "empty"
    counts = np.bincount(mask.ravel(), minlength=1 + len(names))
    named = zip(names, counts[1:], strict=False)
    return ", ".join(f"{name} {100 * count / mask.size:.2g} %" for name, count in named if count)


def _counts(boxes: NDArray[np.float32], names: Sequence[str]) -> str:
    """Return 'nodule 2, cavity 1', or 'no boxes'."""
    counts = np.bincount(boxes[:, -1].astype(int), minlength=len(names))
    named = zip(names, counts, strict=False)
    return ", ".join(f"{name} {count}" for name, count in named if count) or "no boxes"
