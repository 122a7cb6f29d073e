"""`wardround client counts`: what researchers may know of a dataset's patients before there is a job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli.data_import import Key
from client.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.cli.app import App
from shared.cli.ask import Yes, confirm

if TYPE_CHECKING:
    from client.guard.counts import Patients
    from shared.wire.counts import ToldCounts

counts_app = App(help="Tell about how many patients a dataset has, as [policy.counts] allows.")
Dataset = Annotated[str, typer.Argument(help="Name of the dataset in site.toml.", show_default=False)]


@counts_app.callback()
def _counts() -> None:
    """Tell about how many patients a dataset has, as [policy.counts] allows."""


@counts_app.command()
def tell(
    dataset: Dataset,
    folder: Folder = HERE,
    key: Key = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Tell the coordinator about how many patients there are, once a person has seen what leaves.

    With noise, rounded, and none of few. Of the same patients the same is told again, whatever their records
    say since.
    """
    from client.guard.counts import Counts
    from client.service.told_counts import send_counts
    from client.settings.cohort_key import make_key
    from client.settings.site import load_site

    asked = Counts(load_site(folder / "site.toml"), dataset, make_key(folder / "keys"), folder)
    asked.rules()
    told = asked.tell(_patients(folder, dataset, key))
    question = "\n".join([*_lines(told), "Tell the coordinator these counts?"])
    confirm(question, yes=yes, as_json=json)
    send_counts(folder, told)
    answer(json, f"{dataset}: told", **told.model_dump(mode="json"))


@counts_app.command()
def withdraw(dataset: Dataset, folder: Folder = HERE, json: Json = False) -> None:
    """Let the coordinator forget the counts of a dataset; who has seen them knows them still."""
    from client.service.told_counts import withdraw_counts

    withdraw_counts(folder, dataset)
    answer(json, f"{dataset}: withdrawn", dataset=dataset)


def _patients(folder: Path, dataset: str, key: Path | None) -> "Patients":
    """Return what is known of the patients: by the hospital's records, or else by the manifest."""
    from client.cli.data_ask import asked_of_records
    from client.cli.data_import import default_key
    from client.data.manifest.rows import scan_manifest
    from client.dicom_import.pseudonyms import Pseudonyms
    from client.pacs.cohort import dataset_folder, patients_of
    from client.settings.cohort_key import make_secret
    from client.settings.site import load_site

    table = load_site(folder / "site.toml").dataset(dataset)
    if table.cohort is not None:
        secret = make_secret(key or default_key(dataset_folder(table.manifest)))
        return patients_of(asked_of_records(folder, dataset), Pseudonyms(secret), table.cohort.query)
    rows = scan_manifest(table.manifest, ())
    found: dict[str, dict[str, set[str]]] = {}
    for record in (rows if table.site is None else rows.of_site(table.site)).records:
        of_patient = found.setdefault(record.patient, {})
        for column, text in record.cells.items():
            of_patient.setdefault(column, set()).add(text)
    return found


def _lines(told: "ToldCounts") -> list[str]:
    import itertools

    from shared.cli.table import table_lines

    rows = []
    for table in told.tables:
        combinations = itertools.product(*(told.columns[name] for name in table.columns))
        for values, count in zip(combinations, table.cells, strict=True):
            which = ", ".join(f"{name} {value}" for name, value in zip(table.columns, values, strict=True))
            rows.append((which or "all", f"about {count}" if count else f"none, or fewer than {told.least}"))
    return [*table_lines(("patients", "told"), rows), f"noise of each: ± {2 * told.deviation:.0f}"]
