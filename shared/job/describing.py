"""What a job that describes the sites' data has added up, known without loading NumPy.

It is the same whatever bins or columns anybody might like better: each figure is of a column, and has the
same noise at a site in every job that asks for it (`client.guard.bounds`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from shared.metrics.statistic_spec import StatisticSpec
from shared.tasks.fields import Field, fields_of, numbers_in
from shared.tasks.options import ClassesOptions

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

CLASSES, COLUMNS = "classes", "columns"
QUANTILES = (1, 10, 25, 50, 75, 90, 99)
"""Percentiles of the values of an image, of which the means over patients are added up."""

BRIGHTNESS_BINS = 32

_AXES = {2: ("height", "width"), 3: ("x", "y", "z")}
_NUMBERS = frozenset({"table", "number", "event"})
_RANGED = ("minmax", "percentile", "window")  # preparations whose values are in 0..1


def described(job: "JobSpec") -> tuple[StatisticSpec, ...]:
    """Return what is added up over the training patients: classes, columns of numbers, images."""
    return (*_classes(job), *_columns(job), *_images(job))


def landmark_names(job: "JobSpec", image: str) -> Iterator[str]:
    """Yield the names of the landmarks of an image, channel by channel."""
    from shared.landmarks import INNER  # noqa: PLC0415  (few jobs have landmarks)

    channels = image_fields(job)[image].channels or job.data.channels
    for channel in range(1, channels + 1):
        beside = f" of channel {channel}" if channels > 1 else ""
        yield from (f"{image}: landmark {at}{beside}" for at in INNER)


def number_fields(job: "JobSpec") -> dict[str, Field]:
    """Return the fields whose values are numbers that stand in the manifest."""
    return {name: own for name, own in fields_of(job).items() if own.kind in _NUMBERS}


def image_fields(job: "JobSpec") -> dict[str, Field]:
    """Return the fields that are images of one or several files."""
    return {name: own for name, own in fields_of(job).items() if own.kind == "image"}


def _classes(job: "JobSpec") -> Iterator[StatisticSpec]:
    if isinstance(job.task, ClassesOptions):
        names = list(job.task.classes)
        beside = ["background"] if job.task.counted > len(names) else []
        yield StatisticSpec.counts(CLASSES, [*beside, *names])


def _columns(job: "JobSpec") -> Iterator[StatisticSpec]:
    names = [name for own in number_fields(job).values() for name in numbers_in(own)]
    if names:
        yield StatisticSpec.moments(COLUMNS, list(dict.fromkeys(names)))


def _images(job: "JobSpec") -> Iterator[StatisticSpec]:
    axes = _AXES[job.data.dimensions]
    for name in image_fields(job):
        yield StatisticSpec.moments(f"{name} size", [f"{name}: {axis} in pixels" for axis in axes])
        yield StatisticSpec.moments(f"{name} spacing", [f"{name}: mm of a pixel, {axis}" for axis in axes])
        yield StatisticSpec.moments(f"{name} values", [f"{name}: percentile {at}" for at in QUANTILES])
        yield StatisticSpec.moments(f"{name} landmarks", list(landmark_names(job, name)))
        if job.data.intensity in _RANGED:
            what = f"{name}: mean prepared value"
            yield StatisticSpec.histogram(f"{name} brightness", what, BRIGHTNESS_BINS, 0.0, 1.0)
