"""`wardround data ask`: which studies the hospital's records give for a dataset, by its own query."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.text.plural import many

if TYPE_CHECKING:
    from client.health_records.cells import Answer
    from client.health_records.settings import CohortTable
    from client.settings.site import DatasetTable


def ask(
    dataset: Annotated[str, typer.Argument(help="Of site.toml, with a table [datasets.NAME.cohort].")],
    out: Annotated[
        Path | None, typer.Option(help="Write the answer into this new CSV, which you alone can read.")
    ] = None,
    folder: Folder = HERE,
    json: Json = False,
) -> None:
    """Ask the hospital's records by its own query, and say how much they answer; nothing is changed there.

    It stands in the site's audit log. `wardround data pull --cohort` makes the dataset of it.
    """
    from client.data.new_folder import require_new
    from client.pacs.cohort import write_list

    if out is not None:
        require_new(out)
    found = asked_of_records(folder, dataset)
    said = [f"{many(len(found.rows), 'row')}: {', '.join(found.columns)}"]
    if out is not None:
        write_list(out, found)
        said.append(str(out))
    answer(json, said, dataset=dataset, rows=len(found.rows), columns=found.columns, table=out)


def asked_of_records(folder: Path, dataset: str) -> "Answer":
    """Ask the records for a dataset's cohort, after it stands in the site's audit log.

    Raises:
        WardroundError: The site has no such cohort, or the records can't be asked.
    """
    from client.cli.site_log import site_log
    from client.guard.decisions import user_here
    from client.health_records.ask import ask as ask_records
    from client.health_records.ask import digest_of

    _, cohort = cohort_of(folder, dataset)
    log = site_log(folder)
    log.append("records-asked", dataset=dataset, sha256=digest_of(cohort), user=user_here())
    return ask_records(cohort)


def cohort_of(folder: Path, dataset: str) -> "tuple[DatasetTable, CohortTable]":
    """Return a dataset of a site, and its cohort.

    Raises:
        SiteError: There is none.
    """
    from client.settings.site import load_site
    from shared.errors import SiteError

    path = folder / "site.toml"
    table = load_site(path).dataset(dataset)
    if table.cohort is None:
        raise SiteError(
            f"[datasets.{dataset}] has no table [datasets.{dataset}.cohort]",
            where=path,
            remedy="It names a query of the hospital (docs/pacs.md).",
        )
    return table, table.cohort
