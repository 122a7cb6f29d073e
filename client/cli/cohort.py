"""`wardround client cohort`: how patients are split, who waits, and what a person decided to let out."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.folder import HERE, NewFolder, SubFolder, site_folder
from shared.cli.answer import Json, answer
from shared.cli.app import App
from shared.cli.ask import Yes, confirm
from shared.text.plural import many

if TYPE_CHECKING:
    from client.guard.waiting_patients import Standing

cohort_app = App(
    help="Say how the patients of each dataset are split, and who waits to take part.",
    invoke_without_command=True,
)


@cohort_app.callback()
def cohort(context: typer.Context, folder: NewFolder = HERE, json: Json = False) -> None:
    """Say how each dataset is split, which groups were told of, and who waits to take part."""
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    site_folder(folder)
    from client.guard.cohort import Cohort
    from client.guard.waiting_patients import standing
    from client.settings.site import load_site

    config, own = load_site(folder / "site.toml"), Cohort.rehearsed(folder)
    if own is None:
        none = "This site has no keys/cohort.key yet; its service makes it when it starts."
        answer(json, none, datasets={})
        return
    found = {name: standing(config, own, name) for name in config.datasets}
    said = [line for name, of in found.items() for line in _lines(name, of)]
    answer(json, said, datasets={name: _fields(of) for name, of in found.items()})


def _fields(found: "Standing") -> dict[str, object]:
    """Return what `--json` says of a dataset."""
    shares, keys = found.shares.model_dump(), ("since", "waiting", "refused", "least")
    return shares | {key: getattr(found, key) for key in keys}


def _lines(name: str, found: "Standing") -> list[str]:
    shares = found.shares
    fixed = f"fixed since {found.since}" if found.since else "not used yet: it may still be changed"
    lines = [
        f"{name}: {shares.test:.0%} test, {shares.validation:.0%} of the others validate, "
        f"{shares.folds} folds; {fixed}"
    ]
    for side, count in found.waiting.items():
        number = f"{count} new patient{'s' * (count != 1)}"
        wait = "wait" if count != 1 else "waits"
        lines.append(f"  {number} of '{side}' {wait} until there are {found.least}")
    lines += [f"  of '{side}' nothing is told: patients have left (see accept)" for side in found.refused]
    return lines


@cohort_app.command()
def accept(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Name of the dataset in site.toml.", show_default=False)],
    folder: SubFolder = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let figures out about the patients as they are now, though earlier ones were about nearly the same.

    Whoever has both figures can tell what the few patients between them add. The decision is written into the
    audit log.
    """
    from client.guard.cohort_book import BOOK, CohortBook
    from client.guard.decisions import user_here
    from client.settings.site import load_site
    from shared.audit.log import AuditLog
    from shared.pki.key_file import KeyFile

    folder = site_folder(folder or context.obj)
    load_site(folder / "site.toml").dataset(dataset)
    question = (
        f"Earlier figures of '{dataset}' and those that follow may together tell of single patients who "
        "joined or left since. Let them out?"
    )
    confirm(question, yes=yes, as_json=json)
    log = AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))
    log.append("cohort-accepted", dataset=dataset, user=user_here())
    number = CohortBook(folder / BOOK).accept(dataset)
    groups = many(number, "earlier group no longer counts", "earlier groups no longer count")
    said = f"{dataset}: accepted; {groups}."
    answer(json, said, dataset=dataset, groups=number)
