"""What a job that describes the data measures in each training sample: its numbers and its images."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from client.data.formats.picture import Picture
from client.data.images.harmonise import landmarks_of, placed
from client.data.images.intensity import intensity
from client.data.samples.site_data import SiteData
from shared.job.describing import COLUMNS, QUANTILES, image_fields, landmark_names, number_fields
from shared.job.schema import JobSpec
from shared.tasks.fields import numbers_in

Rows = NDArray[np.float64]
_MOST_VALUES = 2**20  # of an image whose percentiles are taken: more of them change no digit that leaves


def described_rows(job: JobSpec, data: SiteData) -> dict[str, Rows]:
    """Return what is measured of each training sample (N, K), by the name of the statistic.

    Not a number stands where a sample has no such value.

    Args:
        job: Whose statistics they are.
        data: The site's; every image of its training patients is read.

    Raises:
        DataError: A value can't be read; names the row.
    """
    asked = {spec.name: spec.shape for spec in job.statistics() if spec.kind != "counts"}
    parts: dict[str, list[Rows]] = defaultdict(list)
    if COLUMNS in asked:
        parts[COLUMNS] = [_columns(job, data)]
    if names := list(image_fields(job)):
        for scene in data.scenes("train"):
            for name in names:
                for what, values in _of_image(name, scene.pictures.get(name), job):
                    if what in asked:
                        parts[what].append(values[None])
    empty = {name: np.full((0, shape[0]), np.nan) for name, shape in asked.items()}
    return empty | {name: np.concatenate(rows) for name, rows in parts.items()}


def _columns(job: JobSpec, data: SiteData) -> Rows:
    found: dict[str, Rows] = {}
    rows = data.examples["train"]
    for field, own in number_fields(job).items():
        cells = data.cells("train", field)
        names = numbers_in(own)
        values = np.full((rows, len(names)), np.nan) if cells is None else cells.double().numpy()
        found |= {name: values[:, at] for at, name in enumerate(names)}
    return np.stack(list(found.values()), axis=1)


def _of_image(name: str, picture: Picture | None, job: JobSpec) -> Iterator[tuple[str, Rows]]:
    axes = job.data.dimensions
    if picture is None:  # the row lacks it
        yield f"{name} size", np.full(axes, np.nan)
        yield f"{name} spacing", np.full(axes, np.nan)
        yield f"{name} values", np.full(len(QUANTILES), np.nan)
        yield f"{name} landmarks", np.full(len(list(landmark_names(job, name))), np.nan)
        yield f"{name} brightness", np.full(1, np.nan)
        return
    tissue = None if picture.background is None else ~picture.background
    image = picture.array.astype(np.float32)
    yield f"{name} size", np.array(picture.array.shape[1:], np.float64)
    yield f"{name} spacing", np.array(picture.spacing or [np.nan] * axes, np.float64)
    counted = image if tissue is None or not tissue.any() else image[:, tissue]
    yield f"{name} values", np.percentile(_thinned(counted), QUANTILES).astype(np.float64)
    found = [placed(landmarks_of(channel, tissue)) for channel in image]
    yield f"{name} landmarks", np.concatenate(found)
    yield f"{name} brightness", np.array([intensity(image, job.data, tissue).mean()], np.float64)


def _thinned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.ravel()
    return flat[:: max(1, flat.size // _MOST_VALUES)]
