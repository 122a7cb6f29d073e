"""`wardround client prepare`: the samples of a job, ready before it asks for them."""

from pathlib import Path
from typing import Annotated

import typer

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.text.plural import many

_LITTLE = 1e-9  # GiB: nothing is taken into memory


def prepare(
    job: Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job that will be trained.")],
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Prepare a job's samples into the folder of `[cache]`, so that its first round need not wait.

    What lies there already is taken: a preparation that was stopped goes on.
    """
    from client.data.manifest.rows import SPLITS
    from client.guard.cohort import Cohort
    from client.guard.site_cohort import SiteCohort
    from client.settings.site import load_site
    from shared.errors import SiteError
    from shared.job.schema import load_job

    config = load_site(folder / "site.toml")
    if config.cache.folder is None:
        raise SiteError(
            "names no folder for prepared samples",
            where=folder / "site.toml",
            remedy='Add [cache] folder = "/data/cache".',
        )
    own = config.model_copy(update={"cache": config.cache.model_copy(update={"memory_gib": _LITTLE})})
    data = SiteCohort(own, Cohort.rehearsed(folder)).load(load_job(job))
    count = sum(len(data.split(side)) for side in SPLITS)
    said = f"{many(count, 'sample lies', 'samples lie')} in {config.cache.folder}."
    answer(json, said, samples=count, folder=config.cache.folder)
