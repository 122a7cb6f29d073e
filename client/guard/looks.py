"""Looks at patients by jobs that judge a model: which are the same, and how many there were.

What a job is called, and how sites come together for it, changes no answer. So a job that asks the same under
another name is answered with the same noise, and is no further look; with fresh noise for each name, many
names would tell the sums themselves.
"""

import hashlib
import json

from client.guard.served_requests import Served
from client.settings.site import SiteConfig
from shared.job.schema import JobSpec

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


def judged_before(served: Served, site: SiteConfig, job: JobSpec) -> int:
    """Return how often models were judged on the dataset of a job, under whatever name."""
    dataset = site.datasets.get(job.job.dataset)
    return 0 if dataset is None else served.judged(dataset.collection)
