"""A site's files of a later version are refused, and left as they are."""

import sqlite3
from contextlib import closing

import pytest

from client.guard.job_book import JobBook
from shared.database import FORMAT
from shared.errors import SiteError
from tests.jobs import make_job


def test_a_book_of_a_later_version_is_refused(tmp_path):
    file = tmp_path / "state.sqlite"
    JobBook(file).meet(make_job(), "ada")
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == FORMAT
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(SiteError, match="was written by a later version of Wardround"):
        JobBook(file)
