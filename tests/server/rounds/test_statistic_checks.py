"""A site's part of the statistics: bounded by what it described, and by its share of all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.statistic_checks import check_statistics, within_share
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import added_up, means_and_deviations
from shared.strategies.largest_share import bounded
from shared.wire.messages import Description, MessageError
from tests.jobs import make_job

COUNTS = StatisticSpec.counts("class_counts", ["no", "yes"])
MOMENTS = StatisticSpec.moments("columns", ["age"])
TIMES = StatisticSpec.histogram("times", "months", 4, 0.0, 60.0)
SPECS = (COUNTS, MOMENTS, TIMES)
JOB = make_job(task_name="classification")


def part(patients: int, mean: float = 50.0) -> dict[str, np.ndarray]:
    return {
        "class_counts": np.array([patients, patients], np.float64),
        "columns": np.array([[patients, patients * mean, patients * (mean**2 + 1)]]),
        "times": np.full(4, patients, np.float64),
    }


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.sampled_from([0.3, 0.6, 1.0]))
def test_nobody_has_more_than_the_share_and_who_has_less_keeps_every_bit(patients, largest):
    parts = {f"s{number}": part(count, float(number)) for number, count in enumerate(patients)}
    cut = within_share(SPECS, parts, largest)
    for name, of_one in (("class_counts", 2), ("times", 4), ("columns", 1)):
        allowed = bounded(
            {site: of_one * int(own["class_counts"][0]) for site, own in parts.items()}, largest
        )
        for site, own in parts.items():
            counted = cut[site][name] if name != "columns" else cut[site][name][:, 0]
            assert counted.sum() <= allowed[site]
            assert (counted == np.rint(counted)).all()
            if allowed[site] == of_one * own["class_counts"][0]:
                np.testing.assert_array_equal(cut[site][name], own[name])
    means, _ = means_and_deviations(added_up(SPECS, list(cut.values()))["columns"])
    assert 0 <= means[0] <= len(patients)


def test_a_column_that_is_cut_keeps_its_mean_and_its_spread():
    parts = {"liar": part(10**6, 70.0), "a": part(100), "b": part(100)}
    [[count, total, squares]] = within_share(SPECS, parts, 0.6)["liar"]["columns"]
    assert count == 300
    assert total / count == pytest.approx(70.0)
    assert squares / count - (total / count) ** 2 == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["class_counts", "columns", "times"])
def test_a_part_of_more_than_was_described_is_refused(name):
    description = Description("beta", {"train": 100}, {"train": 100})
    check_statistics(part(100), (COUNTS, MOMENTS), description, JOB)
    check_statistics({"times": np.array([30.0, 30.0, 30.0, 30.0])}, (TIMES,), description, JOB)
    spec = next(spec for spec in SPECS if spec.name == name)
    with pytest.raises(MessageError, match=f"has '{name}' of more than the 100 that it described"):
        check_statistics(part(111), (spec,), description, JOB)
