"""One hospital for all tests of its page; who changes it takes a copy."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.client.web.hospital import Hospital, make_hospital


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """Return a hospital that is only looked at."""
    return make_hospital(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def copied(hospital: Hospital) -> Callable[[Path], Hospital]:
    """Return a function that copies the hospital into a new folder, where it may be changed."""
    return lambda folder: replace(hospital, folder=Path(shutil.copytree(hospital.folder, folder)))


@pytest.fixture
def own_hospital(copied: Callable[[Path], Hospital], tmp_path: Path) -> Hospital:
    """Return a hospital of a test's own."""
    return copied(tmp_path / "site")
