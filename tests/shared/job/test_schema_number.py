"""A job keeps its digest over versions of Wardround: within a schema number no default changes, and no new
key is written out where it has its default.

The digest is what hospitals have approved. A key that is added later is left out of the canonical form at its
default (`later_key`), so that jobs without it are what they were, and sites that don't know it take them.
"""

import pytest

from tests.shared.job.schema_record import LEFT_OUT, keys, known

NOW, THEN = keys(), known()


def test_no_default_changes_within_a_schema() -> None:
    changed = {
        key: (default, NOW[key][0])
        for key, (default, _) in THEN.items()
        if key in NOW and NOW[key][0] != default
    }
    assert changed == {}, "jobs that leave it out would mean something else, under the same digest"


def test_no_key_goes_within_a_schema() -> None:
    assert THEN.keys() - NOW.keys() == set(), "jobs that have it would be refused"


def test_what_the_digest_covers_stays_what_it_was() -> None:
    assert {key: NOW[key][1] for key in THEN if key in NOW} == {
        key: how for key, (_, how) in THEN.items() if key in NOW
    }


@pytest.mark.parametrize("key", sorted(NOW.keys() - THEN.keys()))
def test_a_new_key_changes_no_digest(key: str) -> None:
    """Of a table that a job names anew (a network, a task) all keys are new, and none is in an older job."""
    table = key.rpartition(".")[0]
    is_new_table = bool(table) and not any(one.rpartition(".")[0] == table for one in THEN)
    told = "make it with later_key, so that a job without it keeps its digest"
    assert is_new_table or NOW[key][1] == LEFT_OUT, told
