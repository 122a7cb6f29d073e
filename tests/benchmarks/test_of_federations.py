"""A quick run of each benchmark of a real federation."""

import pytest

from tests.benchmarks.scripts import FEDERATIONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FEDERATIONS)
def test_a_quick_run_says_that_it_is_held_to_nothing(figures, name):
    assert figures(name)


def test_what_a_federation_must_stand_is_measured(figures):
    assert figures("large_model")["status"] == "finished"
    assert set(figures("large_model")["copies"]) == {"ServerApp", "SuperLink", "gateway", "node", "worker"}
    assert (figures("fifty_sites")["status"], figures("fifty_sites")["failures"]) == ("finished", 0)
    [fault] = figures("faulty_network")["faults"].values()
    assert (fault["status"], fault["rounds"]) == ("finished", 2)
