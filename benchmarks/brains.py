"""Bags and series that are made of real slices of brains, for the benchmarks of both."""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from common import DATA, rows_of

from shared.seeds import seed_of

PACK = DATA / "brain_lgg_5sites_2d"
WITH, WITHOUT = 2, 2  # slices with a tumour in a bag of a head with one, and beside them without
Row = dict[str, str]


def bags_of_brains(folder: Path) -> Path:
    """Write a manifest of bags of four slices: of each patient one without a tumour, and one with it in two.

    Both are as large, so that their number says nothing.
    """
    return _write(folder / "bags.csv", (row for own in _patients() for row in _bags(own)))


def _bags(own: Sequence[Row]) -> Iterator[Row]:
    rng = np.random.default_rng(seed_of("bags", own[0]["patient"]))
    ill, free = ([row for row in own if row["label"] == label] for label in "10")
    if len(ill) < WITH or len(free) < WITH + WITHOUT:
        return
    without = rng.permutation(len(free))[: WITH + WITHOUT]
    yield _row([free[place] for place in without], "normal")
    beside = rng.permutation(len(free))[:WITHOUT]
    within = rng.permutation(len(ill))[:WITH]
    mixed = [*(ill[place] for place in within), *(free[place] for place in beside)]
    yield _row([mixed[place] for place in rng.permutation(len(mixed))], "tumour")


def series_of_brains(folder: Path) -> Path:
    """Write a manifest of the slices of each patient, of every other one from the top downwards."""
    made = []
    for own in _patients():
        upwards = sorted(own, key=lambda row: int(row["slice"]))
        turned = seed_of("series", own[0]["patient"]) % 2
        made.append(_row(upwards[::-1] if turned else upwards, "turned" if turned else "in order"))
    return _write(folder / "series.csv", iter(made))


def _patients() -> list[list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows_of(PACK / "manifest.csv"):
        found[row["patient"]].append(row)
    return list(found.values())


def _row(own: Sequence[Row], label: str) -> Row:
    files = "|".join(str(PACK / row["image"]) for row in own)
    return {**{key: own[0][key] for key in ("site", "patient", "split")}, "label": label, "image": files}


def _write(path: Path, made: Iterator[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["site", "patient", "split", "label", "image"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    return path
