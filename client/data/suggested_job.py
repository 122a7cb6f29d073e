"""What a dataset says of the job that is to train on it: its columns, sizes, channels and classes."""

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from client.data.check.dataset_check import Report, check_dataset
from client.data.check.expected import Expected
from client.data.kinds.image_columns import image_columns
from client.data.manifest.conventions import read_folder
from client.data.manifest.rows import manifest_path
from client.data.manifest.splits import CohortKey, Split
from client.data.planned_job import Machine, planned
from client.data.suggested_columns import suggested_record
from client.data.suggested_survival import suggested_survival
from shared.errors import DataError, JobError
from shared.job.template import Tables, write_job
from shared.tasks import TASKS
from shared.tasks.options import TaskOptions
from shared.tasks.records import RecordOptions
from shared.text.names import LABEL

_LONGEST = {2: 128, 3: 64}  # pixels along an axis: what two cores train in minutes
_MULTIPLE = 16  # of which each axis is: what the built-in networks halve four times
_ONE = "structure"  # the class of masks of one value
_WHITE, _MOST_GREYS = 255, 8  # values of masks that end with white: more are not classes
_MOST_LABELS = 256
_VOLUMES = 2  # in a batch


def write_job_of(data: Path, name: str, task: str, out: Path, plan: Machine | None = None) -> Path:
    """Write a commented job file, as `write_job`, with what the data say filled in; returns its path.

    Args:
        data: As for `suggested`.
        name: Of the job.
        task: What is to be learnt.
        out: The file.
        plan: As for `suggested`.

    Raises:
        JobError: The name, the task or the file can't be used.
        DataError: The data can't.
    """
    return write_job(name, task, out, lambda: suggested(data, task, plan))


def suggested(data: Path, task: str, plan: Machine | None = None) -> Tables:
    """Return tables of a job, as far as the data tell: `[data]`, and the classes or columns of `[task]`.

    Args:
        data: A manifest, or the folder that holds one.
        task: What is to be learnt; of a task without an image, or with targets that only a person can name,
            less is filled in.
        plan: The machine for which the training of a segmentation is planned; None plans nothing.

    Raises:
        JobError: Another task is to be planned.
        DataError: The manifest or a file can't be used, or the data lack what the task learns from.
    """
    if plan is not None and task != "segmentation":
        raise JobError(f"--plan: is for segmentation, not for {task}")
    path = manifest_path(data)
    columns = image_columns(path)
    options = TASKS[task]
    kinds = {field.kind for field in options.declared.values()}
    if {"table", "event"} <= kinds:
        return {"task": suggested_survival(path)}
    if not columns and issubclass(options, RecordOptions):
        return suggested_record(path, predicts_numbers="number" in kinds)
    if "image" not in options.declared or not columns:
        return {}
    return _of_images(path, columns, options, plan)


def _of_images(
    path: Path, columns: tuple[str, ...], options: type[TaskOptions], plan: Machine | None
) -> Tables:
    report = check_dataset(path, Expected(images=columns), split=Split(CohortKey.drawn(0)))
    if report.errors:
        raise report.errors[0]
    tables: dict[str, dict[str, Any]] = {"data": _data(report, columns)}
    if "dimensions" in tables["data"]:
        tables["training"] = {"batch_size": _VOLUMES}
    targets = {field.kind for field in options.declared.values() if field.role == "target"}
    if "instances" in targets:
        tables["data"] = _patched(tables["data"], report)
    if "mask" in targets:
        tables["task"] = _structures(report, path)
        for table, own in planned(report, plan).items() if plan else ():
            tables[table] = {**tables.get(table, {}), **own}
    elif "label" in targets:
        tables["task"] = _labels(report, path)
    return tables


def _data(report: Report, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return `[data]`: images of the usual size and as many channels as the files have."""
    if len({size.count("x") for size in report.sizes}) > 1:
        raise DataError(
            "has images and volumes",
            where=report.manifest,
            remedy="Make a manifest of each: a network sees one or the other.",
        )
    usual = _usual_size(report)
    scale = min(1.0, _LONGEST[len(usual)] / max(usual))
    tables: dict[str, Any] = {} if columns == ("image",) else {"images": list(columns)}
    tables["size"] = [max(2, round(length * scale / _MULTIPLE)) * _MULTIPLE for length in usual]
    if len(usual) == 3:
        tables["dimensions"] = 3
    channels = sorted(map(int, report.channels))
    if len(channels) > 1:  # grey and colour files
        tables |= {"colour": "rgb", "channels": 3}
    elif channels != [1]:
        tables["channels"] = channels[0]
    return tables


def _usual_size(report: Report) -> list[float]:
    sizes = [[int(length) for length in size.split("x")] for size in report.sizes.elements()]
    return [median(lengths) for lengths in zip(*sizes, strict=True)]


def _patched(data: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return `[data]` with patches of images at their own size: small objects would all but vanish."""
    usual = _usual_size(report)
    longest = _LONGEST[len(usual)]
    patch = [min(longest, max(1, round(length / _MULTIPLE)) * _MULTIPLE) for length in usual]
    return {"patch": patch, **{key: value for key, value in data.items() if key != "size"}}


def _structures(report: Report, path: Path) -> dict[str, Any]:
    """Return the classes of masks: by their names where the folder gives them, otherwise by their values."""
    if not report.masks:
        raise DataError("has no mask that holds anything, and the task learns from masks", where=path)
    values = sorted(map(int, report.masks))
    if values[-1] == _WHITE and len(values) > _MOST_GREYS:  # the smooth edges of one structure
        values = [_WHITE]
    named = _named(path.parent)
    if not named and len(values) == 1:
        named = {values[0]: _ONE}
    named = named or {value: f"class-{value}" for value in values}
    found: dict[str, Any] = {"classes": list(dict.fromkeys(named.values()))}
    one_by_highest = len(named) == 1 and set(named) <= {1, _WHITE}
    if list(named) != list(range(1, len(named) + 1)) and not one_by_highest:
        found["labels"] = {str(value): name for value, name in named.items()}
    return found


def _named(folder: Path) -> Mapping[int, str]:
    """Return value -> name of the masks' classes, where the folder's convention has them."""
    try:
        named = read_folder(folder).classes
    except DataError:  # a manifest of somebody's own
        return {}
    return named if all(re.fullmatch(LABEL, name) for name in named.values()) else {}


def _labels(report: Report, path: Path) -> dict[str, Any]:
    """Return the classes of images, several for an image where labels are joined by '|'."""
    labels = [label for label in report.labels if label]
    if not labels:
        raise DataError("has no column 'label', and the task learns from labels", where=path)
    several = any("|" in label for label in labels)
    names = sorted({name.strip() for label in labels for name in (label.split("|") if several else [label])})
    if len(names) > _MOST_LABELS:
        raise DataError(f"has {len(names)} different labels: they don't look like classes", where=path)
    return {"classes": names, **({"multi_label": True} if several else {})}
