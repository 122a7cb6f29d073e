"""What a report says, before it looks like anything: sections of sentences, tables, figures and pictures.

The page, the JSON and the CSV files are made of the same content.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.metrics.figures import Figure
from shared.web.tables import Table, as_table

_SAID = {
    "auroc": "AUROC",
    "iou": "IoU",
    "hd95": "HD95",
    "f1": "F1",
    "ap30": "AP at overlap 0.3",
    "ap50": "AP at overlap 0.5",
    "ap30_before": "AP at overlap 0.3, first network",
    "ap50_before": "AP at overlap 0.5, first network",
    "sensitivity_1fp_before": "sensitivity at 1 wrong box per image, first network",
    "sensitivity_1fp": "sensitivity at 1 wrong box per image",
    "dice_global": "Dice (all voxels)",
    "dice_patient": "Dice (per patient)",
    "dice_image": "Dice (per image)",
    "frechet": "Fréchet distance",
    "kernel": "kernel distance",
    "dice_before": "Dice before",
    "dice_affine": "Dice after the matrix",
    "hd95_before": "HD95 before",
    "hd95_affine": "HD95 after the matrix",
    "tre": "landmarks apart (mm)",
    "tre_before": "landmarks apart before (mm)",
    "tre_affine": "landmarks apart after the matrix (mm)",
    "folded": "share folded",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "relative_mae": "MAE beside the mean's",
}


@dataclass(frozen=True)
class Picture:
    """An image that somebody may look at.

    Attributes:
        name: Of its file.
        png: Its content.
        says: What it shows, for who doesn't see it.
        caption: Stands below.
    """

    name: str
    png: bytes
    says: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        name: Of its place in the page.
        title: Its heading.
        says: Paragraphs.
        warns: Sentences that somebody should not overlook.
        commands: Lines to be typed.
    """

    name: str
    title: str
    says: Sequence[str] = ()
    warns: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    pictures: Sequence[Picture] = ()
    commands: Sequence[str] = ()

    def all_tables(self) -> Iterator[Table]:
        """Yield every table, and the points of every figure as one."""
        yield from self.tables
        yield from (as_table(figure) for figure in self.figures)


@dataclass(frozen=True)
class Report:
    """A report of one run or of several.

    Attributes:
        title: Of the page.
        says: One sentence below it: what came out, before everything else.
        facts: The figures that people look for first: name and value.
        sections: In their order.
    """

    title: str
    says: str
    facts: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures, as JSON can hold it."""
        content = asdict(self)
        for section in content["sections"]:
            for picture in section["pictures"]:
                del picture["png"]
        return dict(_plain(content))


def words(metric: str) -> str:
    """Return the name of a metric as people say it."""
    name, _, label = metric.partition("/")
    said = _SAID.get(name, name.replace("_", " "))
    return f"{said} ({label})" if label else said


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
