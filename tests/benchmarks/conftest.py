"""What a quick run of a benchmark found."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.benchmarks.scripts import run


@pytest.fixture(scope="module")
def figures() -> Callable[[str], dict[str, Any]]:
    """Return a function that runs a benchmark, once for all tests of a file, and returns its figures.

    Each measures, prints a table, ends with its figures as JSON, and says that a quick run is held to none.
    """

    @cache
    def find(name: str) -> dict[str, Any]:
        result = run(name)
        assert result.returncode == 0, result.stderr[-2000:]
        *table, last = result.stdout.strip().splitlines()
        assert any("┃" in line for line in table), "the table is missing"
        found: dict[str, Any] = json.loads(last)
        assert (found["benchmark"], found["quick"], found["missed"]) == (name, True, [])
        return found

    return find
