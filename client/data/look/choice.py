"""Which images of a site are looked at: its extremes, and others drawn by a seed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from client.data.check.dataset_check import Found
from shared.seeds import seed_of


@dataclass(frozen=True)
class Chosen:
    """An image to look at.

    Attributes:
        why: What it is an extreme of, such as 'empty mask'; empty for one that was drawn.
    """

    row: Found
    why: tuple[str, ...]


def choose(rows: Sequence[Found], most: int, seed: int) -> dict[str, list[Chosen]]:
    """Choose images of each site.

    Extremes come first: the largest and the smallest image where sizes differ, an empty mask, and the largest
    and the smallest target. Drawn ones, of as many patients as there are, fill up.

    Args:
        rows: What a check found in the rows of a manifest.
        most: Images a site, at most.
        seed: The same seed chooses the same images.

    Returns:
        Site -> its images.
    """
    by_site: dict[str, list[Found]] = defaultdict(list)
    for row in rows:
        by_site[row.record.site or "all"].append(row)
    return {site: _of_site(own, most, seed_of(seed, "look", site)) for site, own in sorted(by_site.items())}


def _of_site(rows: list[Found], most: int, seed: int) -> list[Chosen]:
    why: dict[int, list[str]] = {}
    for name, row in _extremes(rows):
        if row.record.row in why or len(why) < most:
            why.setdefault(row.record.row, []).append(name)
    for row in _drawn(rows, seed):
        if len(why) >= most:
            break
        why.setdefault(row.record.row, [])
    by_row = {row.record.row: row for row in rows}
    return [Chosen(by_row[number], tuple(names)) for number, names in why.items()]


def _extremes(rows: list[Found]) -> Iterator[tuple[str, Found]]:
    """Yield the extremes of a site by name; of equal ones the first row."""
    yield from _ends(rows, lambda row: row.voxels, "image")
    if empty := [row for row in rows if row.foreground == 0]:
        yield "empty mask", empty[0]
    yield from _ends([row for row in rows if row.foreground], lambda row: row.foreground or 0.0, "target")


def _ends(rows: list[Found], size: Callable[[Found], float], what: str) -> Iterator[tuple[str, Found]]:
    sizes = [size(row) for row in rows]
    if len(set(sizes)) > 1:
        yield f"largest {what}", rows[int(np.argmax(sizes))]
        yield f"smallest {what}", rows[int(np.argmin(sizes))]


def _drawn(rows: list[Found], seed: int) -> Iterator[Found]:
    """Yield the rows in a drawn order, one of each patient before the second of any."""
    turns: Counter[str] = Counter()
    by_turn: dict[int, list[Found]] = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(rows)):
        patient = rows[index].record.patient
        by_turn[turns[patient]].append(rows[index])
        turns[patient] += 1
    for turn in sorted(by_turn):
        yield from by_turn[turn]
