"""ComBat: what is a hospital's own is taken out of its columns."""

import numpy as np
import pytest

from client.data.combat import shifts_of
from shared.errors import DataError

COLUMNS = 6
SCALE = {f"c{number}": (10.0 * number, 2.0) for number in range(COLUMNS)}


def hospital(patients: int, by: float, times: float, seed: int = 0) -> np.ndarray:
    """Return the columns of a hospital (P, K) that lie off by as many deviations, and are as wide."""
    rng = np.random.default_rng(seed)
    standard = by + times * rng.normal(0, 1, (patients, COLUMNS)) + rng.normal(0, 0.1, COLUMNS)
    means, deviations = np.array(list(SCALE.values())).T
    return means + deviations * standard


def back(values: np.ndarray) -> np.ndarray:
    shifts = shifts_of(values, SCALE, "table")
    return np.stack(
        [shifts[name].undone(column, *SCALE[name]) for name, column in zip(SCALE, values.T, strict=True)],
        axis=1,
    )


def test_mean_and_deviation_are_those_of_all_hospitals() -> None:
    found = (back(hospital(2000, by=1.5, times=0.5)) - 10 * np.arange(COLUMNS)) / 2
    assert found.mean(axis=0) == pytest.approx(np.zeros(COLUMNS), abs=0.02)
    assert found.std(axis=0) == pytest.approx(np.ones(COLUMNS), abs=0.05)


def test_columns_of_few_patients_are_shifted_alike() -> None:
    """What twelve patients have by chance is none of the scanner's doing."""
    shifts = shifts_of(hospital(12, by=1.0, times=1.0, seed=1), SCALE, "table")
    plain = shifts_of(hospital(12, by=1.0, times=1.0, seed=1)[:, :2], dict(list(SCALE.items())[:2]), "table")
    of_all = np.array([shift.by for shift in shifts.values()])
    alone = np.array([shift.by for shift in plain.values()])
    centre = of_all.mean()
    assert np.abs(of_all[:2] - centre).max() < np.abs(alone - centre).max()


def test_it_is_the_published_iteration() -> None:
    """The equations 3.1 and 3.2 of Johnson et al. hold at what is found, with their priors."""
    values = hospital(25, by=0.7, times=1.4, seed=2)
    values[:5, 3] = np.nan
    means, deviations = np.array(list(SCALE.values())).T
    own = (values - means) / deviations
    known = (~np.isnan(own)).sum(axis=0)
    by, squares = np.nanmean(own, axis=0), np.nanvar(own, axis=0, ddof=1)
    tau, shape = by.var(ddof=1), 2 + squares.mean() ** 2 / squares.var(ddof=1)
    rate = squares.mean() * (shape - 1)
    found = list(shifts_of(values, SCALE, "table").values())
    stars = np.array([shift.by for shift in found]), np.array([shift.times**2 for shift in found])
    expected = (known * tau * by + stars[1] * by.mean()) / (known * tau + stars[1])
    assert stars[0] == pytest.approx(expected, abs=1e-5)
    spread = np.nansum((own - stars[0]) ** 2, axis=0)
    assert stars[1] == pytest.approx((rate + spread / 2) / (known / 2 + shape - 1), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values.__setitem__((slice(0, 22), 1), np.nan), "'c1' is known of 8 training"),
        (lambda values: values.__setitem__((slice(None), 2), 3.0), "'c2' is the same for all training"),
    ],
)
def test_a_column_that_says_nothing_is_named(change, says: str) -> None:
    values = hospital(30, 0.0, 1.0)
    change(values)
    with pytest.raises(DataError, match=says):
        shifts_of(values, SCALE, "table")
