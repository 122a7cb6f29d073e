"""How sites differ, from sums alone: tests that hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from server.report.site_differences import Difference, corrected, differences
from shared.metrics.statistic_spec import StatisticSpec

AGES = StatisticSpec.moments("columns", ["age"])
CLASSES = StatisticSpec.counts("classes", ["benign", "malignant"])
BRIGHTNESS = StatisticSpec.histogram("brightness", "brightness", 16, 0.0, 1.0)


def moments(values):
    return {"columns": np.array([[len(values), values.sum(), (values**2).sum()]])}


def one(spec, parts, patients=None, least=1, **options):
    [found] = differences([spec], parts, patients or {}, least, **options)
    return found


def test_two_sites_are_compared_as_welch_does() -> None:
    draw = np.random.default_rng(1)
    first, second = draw.normal(60, 10, 80), draw.normal(66, 14, 50)
    found = one(AGES, {"a": moments(first), "b": moments(second)})
    exact = stats.ttest_ind(first, second, equal_var=False)
    assert found.test == "Welch"
    assert found.p == pytest.approx(2 * exact.pvalue, rel=0.2)  # two comparisons; fewer degrees of freedom
    spread = np.sqrt((first.var() * 80 + second.var() * 50) / 130)
    assert found.effect == pytest.approx(abs(first.mean() - second.mean()) / spread)


def test_the_site_that_differs_most_is_named() -> None:
    draw = np.random.default_rng(2)
    parts = {name: moments(draw.normal(60 + 8 * (name == "c"), 10, 100)) for name in "abcd"}
    found = one(AGES, parts)
    assert found.site == "c"
    assert found.p is not None
    assert found.p < 0.001


def test_values_that_never_vary_are_equal_or_have_nothing_in_common() -> None:
    same = one(AGES, {"a": moments(np.full(9, 256.0)), "b": moments(np.full(12, 256.0))})
    assert (same.effect, same.p) == (0.0, 1.0)
    other = one(AGES, {"a": moments(np.full(9, 256.0)), "b": moments(np.full(12, 512.0))})
    assert (other.effect, other.p) == (np.inf, 0.0)


def test_classes_are_compared_by_patients_not_by_pixels() -> None:
    """A thousand pixels of one patient are no thousand patients."""
    few = {"a": np.array([52_000.0, 48_000.0]), "b": np.array([48_000.0, 52_000.0])}
    parts = {site: {"classes": counts} for site, counts in few.items()}
    found = one(CLASSES, parts, {"a": 50, "b": 50})
    assert found.effect == pytest.approx(0.04)
    assert found.p is not None
    assert found.p > 0.5
    many = one(CLASSES, parts, {"a": 100_000, "b": 100_000})
    assert many.p is not None
    assert many.p < 0.001


def test_classes_that_a_sample_may_have_several_of_have_no_test() -> None:
    parts = {"a": {"classes": np.array([50.0, 50.0])}, "b": {"classes": np.array([90.0, 10.0])}}
    assert one(CLASSES, parts, {"a": 100, "b": 100}, exclusive=False).p is None


def test_distributions_are_compared_by_their_largest_gap() -> None:
    low, high = np.zeros(16), np.zeros(16)
    low[:8], high[8:] = 10, 10
    found = one(BRIGHTNESS, {"a": {"brightness": low}, "b": {"brightness": high}})
    assert found.effect == 1.0
    assert found.p is not None
    assert found.p < 0.001


def test_what_one_site_alone_tells_is_not_compared() -> None:
    nothing = {"columns": np.zeros((1, 3)), "classes": np.zeros(2), "brightness": np.zeros(16)}
    told = {**moments(np.arange(10.0)), "classes": np.array([5.0, 5.0]), "brightness": np.ones(16)}
    parts = {"a": told, "b": nothing}
    assert differences([AGES, CLASSES, BRIGHTNESS], parts, {"a": 10, "b": 0}, 10) == []


@pytest.mark.parametrize("least", [1, 10])
def test_sites_that_do_not_differ_are_seldom_said_to(least: int) -> None:
    """Five in a hundred at most, with the noise that a hospital puts on its figures or without it."""
    draw, wrong = np.random.default_rng(3), {AGES: 0, CLASSES: 0, BRIGHTNESS: 0}
    for _ in range(200):
        parts = {site: told(draw, least) for site in "abc"}
        for spec in wrong:
            found = one(spec, parts, dict.fromkeys("abc", 100), least)
            wrong[spec] += found.p is not None and found.p < 0.05
    assert max(wrong.values()) <= 16  # of 200: 10 are to be expected, and 3 % of such tests see more


def told(draw, least):
    """Return figures of a hundred patients of one population, as a site tells them."""
    noise = 0.0 if least == 1 else least / 3
    ages = draw.normal(60, 10, 100)
    shifted = ages + draw.normal(0, 40 * noise / 100)
    benign = draw.binomial(100, 0.7)
    counts = np.rint((np.array([benign, 100 - benign]) + draw.normal(0, noise, 2)) / 10) * 10
    cells = np.bincount(draw.integers(0, 16, 100), minlength=16) + draw.normal(0, noise / 2, 16)
    return {**moments(shifted), "classes": counts.clip(0), "brightness": cells.clip(0)}


def test_p_values_are_corrected_for_how_many_there_are() -> None:
    found = [Difference(str(p), "a", 0.0, "", "", p) for p in (0.01, 0.04, 0.03, 0.005)]
    result = {one.what: one.p for one in corrected([*found, Difference("-", "a", 0.0, "", "", None)])}
    assert result == {
        "-": None,
        "0.005": pytest.approx(0.02),
        "0.01": pytest.approx(0.03),
        "0.03": pytest.approx(0.06),
        "0.04": pytest.approx(0.06),
    }
