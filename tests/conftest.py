"""What tests of all parts share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).parents[1]

# A busy machine is no failure: what must be fast has a test of its own.
settings.register_profile("wardround", deadline=None)
settings.load_profile("wardround")


@pytest.fixture(scope="session")
def data_pack() -> Callable[[str], Path]:
    """Return a function that finds a pack of real data, or skips the test."""
    root = Path(os.environ.get("WARDROUND_DATA", PROJECT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"needs the data pack {name}; set WARDROUND_DATA to the folder that holds it")
        return root / name

    return find


@pytest.fixture
def quickstart() -> Path:
    """Return the path of the quickstart job."""
    return PROJECT / "configs" / "jobs" / "quickstart.toml"
