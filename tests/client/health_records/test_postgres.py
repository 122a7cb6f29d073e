"""Cohorts out of a real PostgreSQL: what a query gives, what it can't do, and who may ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.data.manifest.csv_files import read_table
from tests.client.health_records.omop import QUERY, TABLES, patients
from tests.client.health_records.site import asked, entries, write_site
from tests.postgres import PASSWORD, Postgres, running_postgres


@pytest.fixture(scope="module")
def omop() -> Iterator[Postgres]:
    with running_postgres() as running:
        running.do(*TABLES, *patients(4), "CREATE SEQUENCE numbers")
        yield running


def test_a_query_gives_the_columns_of_a_dataset(omop: Postgres, tmp_path: Path) -> None:
    write_site(tmp_path, omop.by_socket, QUERY)
    answer, _ = asked(tmp_path, "--out", tmp_path / "list.csv")
    assert (answer["rows"], answer["columns"]) == (4, ["accession_number", "label", "age", "sex"])
    _, rows = read_table(tmp_path / "list.csv")
    assert next(cells for _, cells in rows) == ["ACC101", "tumour", "79", "f"]
    assert (tmp_path / "list.csv").stat().st_mode & 0o077 == 0
    assert [entry.event for entry in entries(tmp_path)][-1] == "records-asked"
    assert "nothing is overwritten" in asked(tmp_path, "--out", tmp_path / "list.csv")[1]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("DELETE FROM person RETURNING person_id", "syntax error"),
        ("SELECT 1 AS a; DELETE FROM person", "multiple commands"),
        ("SELECT 1 AS a; COMMIT; DELETE FROM person", "multiple commands"),
        ("WITH gone AS (DELETE FROM person RETURNING *) SELECT * FROM gone", "data-modifying"),
        ("SELECT nextval('numbers') AS a", "read-only transaction"),
        ("SELECT set_config('transaction_read_only', 'off', false), nextval('numbers')", "read-write mode"),
        ("SELECT pg_read_file('/etc/passwd') AS a", "permission denied"),
        ("SELECT a FROM nowhere", "does not exist"),
    ],
)
def test_a_query_changes_nothing(omop: Postgres, tmp_path: Path, query: str, problem: str) -> None:
    omop.do(
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO wardround", "GRANT ALL ON SEQUENCE numbers TO wardround"
    )
    write_site(tmp_path, omop.by_socket, query)
    said = asked(tmp_path)[1]
    assert problem in said
    assert "brain.sql" in said
    assert omop.do("SELECT count(*) FROM person") == [[4]]
    assert omop.do("SELECT last_value, is_called FROM numbers") == [[1, False]]


def test_a_query_without_end_is_given_up(omop: Postgres, tmp_path: Path) -> None:
    write_site(tmp_path, f"{omop.by_socket}seconds = 1\n", "SELECT pg_sleep(600) AS a")
    assert "took longer than 1 s" in asked(tmp_path)[1]


def test_all_rows_come(omop: Postgres, tmp_path: Path) -> None:
    write_site(tmp_path, omop.by_socket, "SELECT n AS accession_number FROM generate_series(1, 20001) n")
    assert asked(tmp_path)[0]["rows"] == 20_001


def test_an_account_is_let_in_over_tls_alone(omop: Postgres, tmp_path: Path) -> None:
    (tmp_path / "omop.password").write_text(PASSWORD)
    (tmp_path / "omop.password").chmod(0o600)
    write_site(tmp_path, omop.by_tls, QUERY)
    assert asked(tmp_path)[0]["rows"] == 4
    plain = "".join(line for line in omop.by_tls.splitlines(keepends=True) if "authority" not in line)
    write_site(tmp_path, plain, QUERY)
    assert "lets nobody in" in asked(tmp_path)[1]
    elsewhere = omop.by_tls.replace("127.0.0.1", "localhost")  # its certificate is for the address
    write_site(tmp_path, elsewhere, QUERY)
    assert "certificate verify failed" in asked(tmp_path)[1]
    write_site(tmp_path, omop.by_tls, QUERY)
    (tmp_path / "omop.password").write_text("another")
    refused = asked(tmp_path)[1]
    assert "lets nobody in" in refused
    assert "another" not in refused
    (tmp_path / "omop.password").chmod(0o644)
    assert "other users may read it" in asked(tmp_path)[1]
    text = "".join(path.read_text() for path in (tmp_path / "audit").glob("*.jsonl"))
    assert PASSWORD not in text
