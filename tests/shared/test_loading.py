"""Libraries are loaded without searches for garbage, and everything else with them."""

import gc
from collections.abc import Iterator

import pytest

from shared.loading import loading


@pytest.fixture(autouse=True)
def _searched() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


def searches() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def make_objects() -> list[list[int]]:
    """Make as many objects as start a search many times over."""
    return [[number] for number in range(20 * gc.get_threshold()[0])]


def test_nothing_is_searched_while_libraries_are_loaded_and_all_is_afterwards() -> None:
    before = searches()
    with loading():
        kept = make_objects()
        assert searches() == before
    assert gc.isenabled()
    kept += make_objects()
    assert searches() > before


def test_a_library_that_cannot_be_loaded_changes_nothing() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_within_another_block_nothing_is_searched_up_to_its_end() -> None:
    with loading():
        with loading():
            pass
        assert not gc.isenabled()


def test_what_is_loaded_for_good_is_searched_no_more() -> None:
    before = gc.get_freeze_count()
    with loading(for_good=True):
        kept = make_objects()
    assert gc.get_freeze_count() >= before + len(kept)
