"""What a site tells of its patients before the first round, and what it believes of everybody's."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.samples.batches import Samples
from client.guard.bounded_sums import Bounds
from client.guard.release import Release
from client.guard.statistics import _measured, _moments, histogram_of
from shared.audit.verify import entries
from shared.errors import SiteError
from shared.metrics.statistic_spec import StatisticSpec
from shared.metrics.statistics import added_up, lacking, means_and_deviations, packed, quantiles, unpacked
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.statistics_message import read_statistics
from tests.jobs import make_job

AGES = StatisticSpec.moments("columns", ["age"])
TIMES = StatisticSpec.histogram("times", "time", 16, 0.0, 8.0)


def release(least: int = 1, step: int = 1) -> Release:
    return Release(True, True, True, True, least, step)


def bounds(least: int = 1) -> Bounds:
    return Bounds(least, lambda digest: int(digest[:12], 16))


def moments(values: Any, least: int = 1, step: int = 1) -> NDArray[np.float64]:
    column = np.asarray(values, float)[:, None]
    return _moments(AGES, column, release(least, step), bounds(least))


VALUES = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=30)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_the_sum_of_the_sites_has_the_moments_of_the_pooled_patients(sites: list[list[float]]) -> None:
    parts = [{"columns": moments(site)} for site in sites]
    received = [unpacked([AGES], packed([AGES], part)) for part in parts]
    [mean], [deviation] = means_and_deviations(added_up([AGES], received)["columns"])
    pooled = np.concatenate(sites)
    assert mean == pytest.approx(pooled.mean(), rel=1e-9, abs=1e-6)
    if pooled.std() > 1e-2:
        assert deviation == pytest.approx(pooled.std(), rel=1e-4)


def test_what_is_missing_counts_for_nothing() -> None:
    assert moments([1.0, np.nan, 3.0]).tolist() == [[2.0, 4.0, 10.0]]


def test_a_column_that_too_few_patients_have_is_not_told() -> None:
    assert moments([50.0] * 9 + [np.nan] * 20, least=10).tolist() == [[0.0, 0.0, 0.0]]
    part = {"columns": moments([np.nan])}
    assert list(lacking([AGES], part)) == ["column 'age'"]


@pytest.mark.parametrize("outlier", [1e9, -1e9])
def test_one_patient_hardly_moves_a_mean_or_a_spread(outlier: float) -> None:
    ages = np.random.default_rng(0).normal(60, 10, 300)
    changed = np.append(ages[:-1], outlier)
    plain = means_and_deviations(moments(ages, least=10))
    other = means_and_deviations(moments(changed, least=10))
    assert other[0] == pytest.approx(plain[0], abs=4)
    assert other[1] == pytest.approx(plain[1], rel=0.3)
    assert plain[0] == pytest.approx(60, abs=4)
    assert plain[1] == pytest.approx(10, rel=0.3)


def test_numbers_below_zero_keep_their_mean() -> None:
    values = np.random.default_rng(1).normal(-1000, 5, 400)
    [mean], [deviation] = means_and_deviations(moments(values, least=10))
    assert mean == pytest.approx(-1000, abs=3)
    assert deviation == pytest.approx(5, rel=0.4)


def test_a_statistic_that_a_task_does_not_measure_is_named() -> None:
    job = make_job(task_name="survival")
    task, rows = make_task(job), {"record": [torch.zeros(2)], "event": [torch.tensor([3.0, 1.0])]}
    task.measure = lambda batch: {}  # type: ignore[method-assign]
    samples = Samples(job, rows, patients=["p"], keys=["p"], spacings=[None])
    with pytest.raises(SiteError, match="the task 'survival' does not measure its statistic 'columns'"):
        _measured(task, SimpleNamespace(split=lambda side: samples))  # type: ignore[arg-type]


def test_a_spread_is_right_far_from_zero() -> None:
    """The square of a year is a million times its variance."""
    years = 2015 + np.arange(200) % 5
    [mean], [deviation] = means_and_deviations(moments(years, least=10, step=10))
    assert mean == pytest.approx(years.mean(), abs=1)
    assert deviation == pytest.approx(years.std(), rel=0.3)


def histogram(values: Any, least: int = 1, step: int = 1, spec: StatisticSpec = TIMES) -> list[float]:
    return histogram_of(spec, np.asarray(values, float), release(least, step), bounds(least)).tolist()


def test_what_is_unknown_or_beyond_the_bins_is_not_counted() -> None:
    values = [*np.linspace(0.5, 15.5, 120), *[np.nan] * 30]
    assert sum(histogram(values, 5, 5)) == pytest.approx(60, abs=6)
    assert not any(histogram([np.nan] * 30, 5, 5))


TIMES_OF_EVENTS = st.lists(st.floats(0, 1e4) | st.sampled_from([0.0, 1.0, 30.0, 30.0]), max_size=200)


@given(TIMES_OF_EVENTS, st.integers(2, 12))
def test_a_histogram_is_made_of_cells_of_enough_patients(values: list[float], least: int) -> None:
    whole = StatisticSpec.histogram("times", "time", 16, -1.0, 2e4)  # longer than anybody was followed
    told = np.array(histogram(values, least=least, spec=whole))
    if len(values) < least:
        assert not told.any()
        return
    assert told.sum() == len(values)
    assert (told >= 0).all()
    ends, counts = bounds(least).cells(np.array(values), least, 2.0**40)
    assert (np.diff(ends) > 0).all()
    assert counts.sum() == len(values)
    exact = np.bincount(np.searchsorted(ends, values), minlength=len(ends) + 1)
    assert (exact >= least).all()


def test_other_bins_and_other_horizons_tell_nothing_more() -> None:
    """Two jobs: the difference of what they tell would be who had an event between their horizons."""
    values = np.random.default_rng(3).gamma(2, 2, 400)
    ends, _ = bounds(10).cells(values, 10, 2.0**40)
    fine = histogram(values, 10, 10, StatisticSpec.histogram("times", "time", 64, 0.0, 16.0))
    for bins, high in ((16, 4.0), (8, 4.0), (22, 5.5), (1, 5.25)):
        assert high < ends[-1]
        other = histogram(values, 10, 10, StatisticSpec.histogram("times", "time", bins, 0.0, high))
        each = round(high * 4) // bins  # bins of a quarter
        assert other == np.add.reduceat(fine[: bins * each], np.arange(0, bins * each, each)).tolist()


def test_where_the_last_event_is_does_not_leave() -> None:
    values = np.sort(np.random.default_rng(3).gamma(2, 2, 400))
    ends, _ = bounds(10).cells(values, 10, 2.0**40)
    for place in (0, -1):
        assert (values <= ends[place]).sum() >= 10
        assert (values > ends[place]).sum() >= 10


def test_the_counts_of_a_histogram_have_noise() -> None:
    values = np.random.default_rng(4).gamma(2, 2, 400)
    ends, told = bounds(10).cells(values, 10, 2.0**40)
    exact = np.bincount(np.searchsorted(ends, values))
    assert 1.5 < (told - exact).std() < 6  # a third of min_group
    more, _ = bounds(10).cells(np.append(values, 4.0), 10, 2.0**40)
    assert more.tolist() != ends.tolist()  # where cells end is drawn for the patients that there are


def test_no_few_patients_steer_the_intervals() -> None:
    times = np.random.default_rng(5).gamma(2, 2, 400)
    horizons = StatisticSpec.histogram("times", "time", 256, 0.0, 10.0)
    exact = quantiles(np.histogram(times, 256, (0.0, 10.0))[0].astype(float), 4, 0.0, 10.0)
    for values in (times, np.append(times[5:], [1e-3] * 5)):
        told = quantiles(np.array(histogram(values, 10, 10, horizons)), 4, 0.0, 10.0)
        assert told == pytest.approx(exact, rel=0.12)


def test_intervals_of_a_hospital_without_an_event_are_evenly_apart() -> None:
    assert quantiles(np.zeros(8), 4, 0.0, 10.0).tolist() == [2.5, 5, 7.5, 10]


@given(st.lists(st.integers(0, 50), min_size=4, max_size=20).filter(any), st.integers(2, 12))
def test_intervals_ascend_and_hold_equal_parts(counts: list[int], number: int) -> None:
    ends = quantiles(np.array(counts, float), number, 0.0, 10.0)
    assert len(ends) == number
    assert (np.diff(ends) > 0).all()
    assert ends[0] > 0
    assert ends[-1] == 10.0
    bounds = np.linspace(0, 10, len(counts) + 1)
    below = np.interp(ends[:-1], bounds, np.cumsum([0, *counts])) / sum(counts)
    assert below == pytest.approx(np.arange(1, number) / number, abs=1e-9)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1.0, 2.0], "expected 3 numbers"),
        ([-1.0, 0.0, 0.0], "a count that is negative"),
        ([1.5, 0.0, 0.0], "a count that is negative or not whole"),
        ([0.0, 3.0, 9.0], "beyond what that many patients can have"),
        ([2.0, 10.0, 1.0], "a negative variance"),
        ([2.0, np.nan, 1.0], "not finite"),
    ],
)
def test_sums_that_make_no_sense_are_refused(numbers: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpacked([AGES], np.array(numbers))


COUNTED = {"task_class_weights": "federation"}


def ask(site: Any, job: Any) -> Any:
    content = messages.describe_request(job.canonical())
    return site.ask(f"query.{messages.STATISTICS}", content)


def test_a_site_tells_its_rounded_counts_twice_at_most(make_site: Any, job_of: Any) -> None:
    site, job = make_site(), job_of(**COUNTED)
    answers = [ask(site, job) for _ in range(3)]
    assert read_statistics(answers[0].content).tolist() == [10.0, 10.0]
    assert "the sums before the first round was answered 2 times" in answers[2].error.reason
    sent = [entry for entry in entries(site.folder / "audit") if entry.event == "reply-sent"]
    assert [entry.fields["phase"] for entry in sent] == ["statistics"] * 2
    assert all("sha256" in entry.fields for entry in sent)


def test_a_job_that_asks_for_no_sums_gets_none(make_site: Any, job_of: Any) -> None:
    site = make_site()
    assert "job.statistics" in ask(site, job_of()).error.reason


def test_a_site_believes_one_set_of_statistics_of_a_job_and_writes_it_down(
    make_site: Any, job_of: Any
) -> None:
    site, job = make_site(), job_of(**COUNTED)
    assert site.train(job, statistics=[30.0, 10.0]) == ""
    site.restart()
    assert "another set of statistics" in site.evaluate(job, statistics=[10.0, 30.0])
    assert "another set of statistics" in site.train(job, statistics=[30.0, 20.0])
    assert site.evaluate(job, statistics=[30.0, 10.0]) == ""
    taken = [entry for entry in entries(site.folder / "audit") if entry.event == "statistics-taken"]
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "expected 2 numbers"), ([1.0, -1.0], "negative"), ([1.0], "expected 2"), ([1], "are not numbers")],
)
def test_statistics_that_are_not_the_jobs_are_refused(
    make_site: Any, job_of: Any, given: list[float], message: str
) -> None:
    site, job = make_site(), job_of(**COUNTED)
    assert message in site.train(job, statistics=given)


def test_statistics_for_a_job_that_asks_for_none_are_refused(make_site: Any, job_of: Any) -> None:
    assert "expected 0 numbers" in make_site().train(job_of(), statistics=[1.0])
