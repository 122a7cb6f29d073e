"""Cohorts out of a DuckDB file: what a query gives, and what it can't do."""

from contextlib import closing
from pathlib import Path

import pytest

from client.data.manifest.csv_files import read_table
from tests.client.health_records.omop import QUERY, TABLES, patients
from tests.client.health_records.site import asked, write_site

duckdb = pytest.importorskip("duckdb", reason="needs the extra 'duckdb'")
DATABASE = 'database = "duckdb:omop.duckdb"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with closing(duckdb.connect(str(tmp_path / "omop.duckdb"), config={"threads": 1})) as db:
        for statement in (*TABLES, *patients(4)):
            db.execute(statement)
    write_site(tmp_path, DATABASE, QUERY)
    return tmp_path


def test_a_query_gives_the_columns_of_a_dataset(place: Path) -> None:
    answer, problem = asked(place, "--out", place / "list.csv")
    assert not problem
    assert (answer["rows"], answer["columns"]) == (4, ["accession_number", "label", "age", "sex"])
    assert next(cells for _, cells in read_table(place / "list.csv")[1]) == ["ACC101", "tumour", "79", "f"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("DELETE FROM person", "not a single query"),
        ("SELECT 1 AS a; DELETE FROM person", "not a single query"),
        ("COPY person TO 'other.csv'", "not a single query"),
        ("ATTACH 'other.duckdb' AS other", "not a single query"),
        ("SET enable_external_access = true", "not a single query"),
        ("INSTALL httpfs", "not a single query"),
        ("", "not a single query"),
        ("SELECT * FROM read_csv('site.toml')", "is refused by the database"),
        ("SELECT * FROM 'site.toml'", "is refused by the database"),
        ("SELECT content FROM read_text('/etc/passwd')", "is refused by the database"),
        ("SELECT * FROM rows", "is refused by the database"),  # no variable of this program
        ("SELECT [1, 2] AS a", "holds what is not a text"),
        ("SELECT '\\x00'::BLOB AS a", "holds what is not a text"),
        ("SELECT condition_start_date AS since FROM condition_occurrence", "its column 'since' holds dates"),
    ],
)
def test_what_a_query_can_not_be(place: Path, query: str, problem: str) -> None:
    before = (place / "omop.duckdb").read_bytes()
    (place / "brain.sql").write_text(query)
    assert problem in asked(place)[1]
    assert (place / "omop.duckdb").read_bytes() == before
    assert not list(place.glob("other*"))


def test_a_query_without_end_is_given_up(place: Path) -> None:
    endless = (
        "SELECT count(*) AS a FROM range(1000000) f(n), range(1000000) g(m) WHERE n * 3 % 7 = m * 5 % 11 + 2"
    )
    write_site(place, f"{DATABASE}seconds = 1\n", endless)
    assert "took longer than 1 s" in asked(place)[1]


def test_what_is_no_database(place: Path) -> None:
    (place / "omop.duckdb").write_bytes(b"none" * 5000)
    assert "can't be opened by DuckDB" in asked(place)[1]
    (place / "omop.duckdb").unlink()
    assert "is missing" in asked(place)[1]
