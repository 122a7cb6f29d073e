"""A quick run of each benchmark of simulations."""

import pytest

from tests.benchmarks.scripts import SIMULATIONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", SIMULATIONS)
def test_a_quick_run_says_that_it_is_held_to_nothing(figures, name):
    assert figures(name)


def test_both_engines_are_measured_against_bare_training(figures):
    for engine in ("Wardround", "Flower"):
        one = figures("simulation_overhead")[engine]
        assert one["overhead"] > 0.5
        assert min(one["cpu_seconds"], one["startup_seconds"], one["round_seconds"]) > 0
        assert len(one["bare_seconds"]) == len(one["overhead_of_each_run"])


def test_memory_does_not_grow_with_rounds_or_sites(figures):
    one = figures("many_sites")
    assert one["growth_mib_per_round"] < 2
    few, many = one["peak_server_mib"].values()
    assert abs(many - few) < 20


def test_filters_send_as_little_as_they_promise(figures):
    one = figures("update_filters")
    assert one["int8"]["of_plain"] <= 0.27
    assert one["bfloat16"]["of_plain"] == one["float16"]["of_plain"] == 0.5
    assert one["top-k 5 %"]["of_plain"] <= 0.11
    assert one["upper parts"]["of_plain"] <= 0.56
    assert one["clip 2"]["of_plain"] == 1
