"""Tiny hospitals that every built-in task can learn from, and the small job of each."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import SITES, write_dataset

NEWER = ("survival", "detection", "instances", "generation", "restoration", "registration", "regression")
"""The tasks besides classification and segmentation, on which most other tests stand."""


def write_for_every_task(folder: Path, sites: tuple[str, ...] = SITES, patients: int = 3) -> Path:
    """Write the discs of `write_dataset` with boxes, and when an event came; return the manifest."""
    path = write_dataset(folder, sites, patients)
    generator = np.random.default_rng(0)
    people: dict[str, dict[str, object]] = {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        y, x = np.nonzero(np.asarray(Image.open(folder / row["mask"])))
        box = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        row["boxes"] = json.dumps([[int(corner) for corner in box]])
        if row["patient"] not in people:
            age = generator.uniform(40, 80)
            time = generator.exponential(20 + 80 * (age < 60))
            people[row["patient"]] = {
                "age": f"{age:.1f}",
                "grade": int(generator.integers(1, 4)),
                "time": f"{min(time, 60):.1f}",
                "event": int(time < 60),
            }
        row.update(people[row["patient"]])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path
