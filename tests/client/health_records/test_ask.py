"""Cohorts out of an SQLite file, and answers that can't stand in a dataset."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from client.data.manifest.csv_files import read_table
from tests.client.health_records.omop import QUERY, TABLES, patients
from tests.client.health_records.site import asked, write_site

DATABASE = 'database = "sqlite:omop.sqlite"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "omop.sqlite")) as db:
        for statement in (*TABLES, *patients(4)):
            db.execute(statement)
        db.commit()
    write_site(tmp_path, DATABASE, QUERY)
    return tmp_path


def test_a_query_gives_the_columns_of_a_dataset(place: Path) -> None:
    answer, _ = asked(place, "--out", place / "list.csv")
    assert (answer["rows"], answer["columns"]) == (4, ["accession_number", "label", "age", "sex"])
    assert next(cells for _, cells in read_table(place / "list.csv")[1]) == ["ACC101", "tumour", "79", "f"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("DELETE FROM person RETURNING person_id", "not authorized"),
        ("SELECT 1 AS a; DELETE FROM person", "one statement at a time"),
        ("ATTACH 'other.sqlite' AS other", "not authorized"),
        ("PRAGMA writable_schema = 1", "not authorized"),
        ("SELECT load_extension('evil') AS a", "not authorized"),
        ("SELECT a FROM nowhere", "no such table"),
        ("", "is no query that gives rows"),
        ("SELECT person_id, person_id FROM person", "gives two columns 'person_id'"),
        ("SELECT x'00' AS picture", "its column 'picture' holds what is not a text"),
        ("SELECT condition_start_date AS since FROM condition_occurrence", "its column 'since' holds dates"),
        ("SELECT zeroblob(2000000) AS a", "string or blob too big"),
        ("WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT a FROM n", "1,000,000 rows"),
        ("SELECT '31.12.1980' AS born", "its column 'born' holds dates"),
        ("SELECT '7/4/1980 10:30' AS born", "its column 'born' holds dates"),
    ],
)
def test_what_a_query_can_not_be(place: Path, query: str, problem: str) -> None:
    before = (place / "omop.sqlite").read_bytes()
    (place / "brain.sql").write_text(query)
    assert problem in asked(place)[1]
    assert (place / "omop.sqlite").read_bytes() == before
    assert not (place / "other.sqlite").exists()


def test_a_query_without_end_is_given_up(place: Path) -> None:
    endless = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT max(a) AS a FROM n"
    write_site(place, f"{DATABASE}seconds = 1\n", endless)
    assert "took longer than 1 s" in asked(place)[1]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('database = "sqlite:elsewhere.sqlite"', "is missing"),
        ('database = "sqlite:omop.sqlite"\nuser = "me"', "have no user and no password"),
        ('database = "postgresql://db/omop"', "PostgreSQL needs one"),
        ('database = "postgresql://me:secret@db/omop"\nuser = "me"', "no account stands in it"),
        ('database = "postgresql://db:70000/omop"\nuser = "me"', "port"),
        ('database = "postgresql://db"\nuser = "me"', "name of the database is missing"),
        ('database = "oracle://db/omop"', "must match"),
        ('database = "postgresql:///omop"\nuser = "me"\nsocket = "/nowhere"', "can't be reached"),
    ],
)
def test_settings_that_lead_nowhere(place: Path, keys: str, problem: str) -> None:
    write_site(place, keys, QUERY)
    assert problem in asked(place)[1]


def test_a_dataset_without_a_cohort(place: Path) -> None:
    (place / "site.toml").write_text('[site]\nname = "st-mary"\n[datasets.brain]\nmanifest = "data/brain"\n')
    assert "has no table [datasets.brain.cohort]" in asked(place)[1]
