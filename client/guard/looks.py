"""Looks at patients by jobs that judge a model or describe images: which are the same, how many there were.

What a job is called, and how sites come together for it, changes no answer. So a job that asks the same under
another name is answered with the same noise, and is no further look; with fresh noise for each name, many
names would tell the sums themselves. Images that are prepared otherwise are other numbers, whose noise is
fresh: each way to prepare them is a look at the training patients. And each way to read rows tells whether
all of them can be read so.
"""

import hashlib
import json
from dataclasses import asdict

from client.guard.served_requests import Served
from client.settings.site import DatasetTable, SiteConfig
from shared.job.describing import image_fields
from shared.job.schema import JobSpec
from shared.tasks.fields import fields_of

_HOW = ("strategy", "update")  # tables that say nothing of what is judged


def asked(job: JobSpec) -> str:
    """Return the SHA-256, in hexadecimal, of what a job asks of the patients.

    Of a job that trains that is all of it: parts of its models may be the site's own, and differ by its
    history.
    """
    if job.trains:
        return job.digest()
    tables = job.model_dump(mode="json", exclude={"job": {"name"}, **dict.fromkeys(_HOW, True)})
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def preparation(job: JobSpec) -> str | None:
    """Return the SHA-256 of how images are prepared of which a job has sums told before its first round.

    None where there are no such sums: columns of numbers have one answer, whatever job asks. Voxels of a
    class are counted after an image is brought to the job's size, so that they depend on it too.
    """
    counts = any(spec.kind == "counts" for spec in job.statistics())
    has_masks = any(field.kind == "mask" for field in job.task.fields().values())
    if not (counts and has_masks) and not (job.job.describes and image_fields(job)):
        return None
    how = job.data.model_dump(mode="json", exclude={"augment"})
    return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()


def reading(job: JobSpec) -> str:
    """Return the SHA-256 of which cells and images a job can use: columns, classes, categories, modalities.

    Whether a site answers or fails says if all of its patients' rows are among them. Many jobs, each of which
    leaves out another value, would find every value that occurs.
    """
    data, task = job.data, job.task
    how = {
        "fields": {name: asdict(own) for name, own in fields_of(job).items()},
        "scaling": getattr(task, "scaling", None),
        "images": [data.channels, data.dimensions, data.geometry, data.modalities, data.pixel_sizes],
    }
    return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()


def read_from(dataset: DatasetTable) -> str:
    """Return what stands for the rows of a dataset, where the ways to read them are counted."""
    return f"{dataset.collection}: rows"


def trained_on(dataset: DatasetTable) -> str:
    """Return what stands for the training patients of a dataset, where looks are counted."""
    return f"{dataset.collection}: train"


def looks_before(served: Served, site: SiteConfig, job: JobSpec) -> int:
    """Return how many looks of a job's kind there were at its dataset, under whatever name."""
    dataset = site.datasets.get(job.job.dataset)
    if dataset is None or (not job.judges and preparation(job) is None):
        return 0
    return served.looks(dataset.collection if job.judges else trained_on(dataset))
