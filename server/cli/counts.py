"""`wardround counts`: about how many patients the hospitals have, before there is a job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.runs import Folder
from shared.cli.answer import Json, answer
from shared.errors import WardroundError

if TYPE_CHECKING:
    from server.registry.told_counts import SiteCounts
    from shared.wire.counts import About


def counts(
    dataset: Annotated[
        str | None,
        typer.Argument(help="As the hospitals call it; without it, what can be asked.", show_default=False),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Count these patients alone, as sex=f; repeat it for further columns or values.",
        ),
    ] = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Say about how many patients the hospitals have, as they have told it: with noise, rounded, none of few.

    It is answered from what they told once; no hospital is asked anything.
    """
    found = _told(folder)
    if dataset is None:
        if where:
            raise typer.BadParameter("needs a dataset", param_hint="--where")
        answer(json, _listing(found), datasets=[_listed(one) for one in found])
        return
    of_dataset = [one for one in found if one.counts.dataset == dataset]
    if not of_dataset:
        from shared.text.names import suggestion

        known = {one.counts.dataset for one in found}
        raise WardroundError(f"no hospital tells counts of '{dataset[:60]}'; {suggestion(dataset, known)}")
    asked = _asked(where or [])
    answers = [(one, one.counts.about(asked)) for one in of_dataset]
    answer(json, _lines(answers), dataset=dataset, sites=[_fields(one, about) for one, about in answers])


def _told(folder: Path | None) -> "list[SiteCounts]":
    if folder is None:
        from server.folder.login import load_login
        from server.runs.remote_counts import told_counts

        return told_counts(load_login())
    from contextlib import closing

    from server.audit.log import operator_audit
    from server.registry.people import People
    from server.registry.store import REGISTRY
    from server.registry.told_counts import ToldBook

    with closing(People(folder / REGISTRY, operator_audit(folder))) as people:
        return ToldBook(folder).seen_by("operator", (), people)


def _asked(where: list[str]) -> dict[str, set[str]]:
    asked: dict[str, set[str]] = {}
    for part in where:
        column, sign, value = part.partition("=")
        if not sign or not column or not value:
            raise typer.BadParameter(f"'{part}' is not COLUMN=VALUE", param_hint="--where")
        asked.setdefault(column, set()).add(value)
    return asked


def _lines(answers: "list[tuple[SiteCounts, About]]") -> list[str]:
    from shared.cli.table import table_lines

    rows = [
        (one.site, _number(about), _noise(about), str(about.untold or "-"), one.counts.told[:10])
        for one, about in answers
    ]
    titles = ("site", "patients", "noise", "groups too small", "told (UTC)")
    total = sum(about.patients for _, about in answers)
    return [*table_lines(titles, rows), f"about {total} patients in all"]


def _number(about: "About") -> str:
    return f"about {about.patients}" if about.patients else "too few to be told"


def _noise(about: "About") -> str:
    return f"± {2 * about.deviation:.0f}" if about.patients else "-"


def _listing(found: "list[SiteCounts]") -> list[str]:
    from shared.cli.table import table_lines

    if not found:
        return ["No hospital of your projects has told counts."]
    rows = [
        (one.counts.dataset, one.site, name, ", ".join(values))
        for one in found
        for name, values in one.counts.columns.items()
    ]
    return list(table_lines(("dataset", "site", "column", "values"), rows))


def _listed(one: "SiteCounts") -> dict[str, object]:
    told = one.counts
    return {"dataset": told.dataset, "site": one.site, "told": told.told, "columns": told.columns}


def _fields(one: "SiteCounts", about: "About") -> dict[str, object]:
    told = one.counts
    return {
        "site": one.site,
        "patients": about.patients,
        "deviation": about.deviation,
        "untold": about.untold,
        "told": told.told,
        "least": told.least,
        "step": told.step,
    }
