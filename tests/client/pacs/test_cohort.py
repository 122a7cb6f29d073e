"""From a query of the hospital's record to a dataset that training is possible on: one command."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli import wardround
from tests.client.dicom_import.heaps import RULES, write_heap, write_key
from tests.client.health_records.omop import QUERY, TABLES, patient, patients
from tests.client.health_records.site import write_site
from tests.orthanc import Orthanc, running_orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with running_orthanc(folder) as running:
        write_heap(folder / "heap")
        for file in (folder / "heap").iterdir():
            if file.suffix != ".txt":
                running.put(file)
        yield running


@pytest.fixture
def place(orthanc: Orthanc, tmp_path: Path) -> Path:
    """Return a site with an archive of four patients, and a record of three."""
    settings = orthanc.write_settings(tmp_path)
    settings.write_text(settings.read_text().replace("[store]", "[pull]"))
    (tmp_path / "data").mkdir()
    write_key(tmp_path / "data")
    (tmp_path / "rules.toml").write_text(RULES)
    write_site(tmp_path, 'database = "sqlite:omop.sqlite"\n', QUERY)
    change(tmp_path, *TABLES, *patients(3))
    return tmp_path


def change(place: Path, *statements: str) -> None:
    with closing(sqlite3.connect(place / "omop.sqlite")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def pull(place: Path, *options: object):
    given = ("--from", place / "pacs.toml", "--rules", place / "rules.toml", "--dir", place)
    return wardround("data", "pull", "--cohort", "brain", *given, *options, "--json")


def rows(place: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((place / "data" / "brain" / "manifest.csv").read_text())))


def test_a_query_becomes_a_dataset_and_is_refreshed(place: Path) -> None:
    ended = pull(place)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["used"]["rows"] == 3
    assert sorted((row["label"], row["age"], row["sex"]) for row in rows(place)) == [
        ("none", "78", "f"),
        ("tumour", "77", "m"),
        ("tumour", "79", "f"),
    ]
    assert "ACC10" not in (place / "data" / "brain" / "manifest.csv").read_text()
    checked = wardround("data", "check", place / "data" / "brain", "--image=t1", "--dir", place)
    assert checked.returncode == 0, checked.stdout
    assert "Training is possible." in checked.stdout
    before = {row["patient"] for row in rows(place)}
    change(place, "DELETE FROM procedure_occurrence WHERE person_id = 2", *patient(4))
    ended = pull(place)
    assert ended.returncode == 0, ended.stderr
    assert len({row["patient"] for row in rows(place)} & before) == 2
    assert len(rows(place)) == 3
    (place / "brain.sql").write_text(
        "SELECT procedure_source_value AS accession_number FROM procedure_occurrence"
    )
    change(
        place, "DELETE FROM procedure_occurrence WHERE person_id = 3"
    )  # gone, though nothing stands beside it
    assert pull(place).returncode == 0
    assert len(rows(place)) == 2
    assert "label" not in rows(place)[0]


def test_what_a_query_must_give(place: Path) -> None:
    (place / "brain.sql").write_text("SELECT person_id FROM person")
    assert "gives none of the columns accession_number" in pull(place).stderr
    (place / "brain.sql").write_text("SELECT 'ACC101' AS accession_number, 'x' AS study")
    assert "'study' is a column of the import itself" in pull(place).stderr
    assert "or --cohort" in pull(place, "--query", "PatientID=1").stderr
    (place / "data" / "brain").mkdir()
    (place / "data" / "brain.import").rmdir()
    assert "no import made it" in pull(place).stderr
    (place / "site.toml").write_text((place / "site.toml").read_text().replace("data/brain", "brain.csv"))
    assert "an import writes manifest.csv" in pull(place).stderr
