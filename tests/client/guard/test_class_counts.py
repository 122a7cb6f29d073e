"""Counts of classes before the first round: no patient who has more than the others steers or shows."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.data.manifest.splits import CohortKey
from client.guard.bounds import Bounds
from client.guard.release import Release
from shared.metrics.patient_values import PatientValues

LEAST = 10


def told(counts: Any, key: int = 0, least: int = LEAST, *, voxels: bool = True) -> tuple[int, ...]:
    """Return what leaves of the counts of patients (P, K)."""
    rows = np.asarray(counts, float)
    values = PatientValues.of([f"p{number:04d}" for number in range(len(rows))], rows, rows > 0)
    data: Any = SimpleNamespace(class_values=lambda: values, counts_voxels=voxels)
    release = Release(True, True, True, False, least, 10)
    return release.class_counts(data, Bounds(least, CohortKey.drawn(key).seed))


@pytest.mark.parametrize("voxels", [True, False])
def test_one_patient_of_much_is_not_the_count(voxels: bool) -> None:
    """The attack: eleven patients of 40 voxels, and one whose volume was told as 5500, 71000, 72000."""
    found = [
        told([[40]] * 11 + [[big]], key, voxels=voxels)[0] for key in range(8) for big in (5_000, 71_000)
    ]
    assert max(found) < 1_000
    assert min(found) >= 10


def test_it_has_noise_for_what_is_left_of_a_patient() -> None:
    rows = np.random.default_rng(0).gamma(4, 500, (60, 1))
    found = np.array([told(rows, key)[0] for key in range(60)])
    assert found.std() > 5_000  # 3.3 ranges of what is between the ends
    assert found.mean() == pytest.approx(rows.sum(), rel=0.1)


def test_a_class_has_the_same_noise_whatever_is_beside_it() -> None:
    """Else jobs that name other classes beside it would have a look each, and together the number itself."""
    rows = np.random.default_rng(1).integers(1, 4000, (80, 3)).astype(float)
    alone = told(rows[:, :1])
    assert alone[0] == told(rows)[0] == told(rows[:, ::-1])[-1]


def test_what_few_patients_have_is_none_and_what_enough_have_is_not() -> None:
    rows = np.zeros((60, 3))
    rows[:9, 0], rows[:10, 1], rows[:, 2] = 5e5, 1, 300
    few, some, all_ = told(rows)
    assert few == 0
    assert some >= 10
    assert all_ == pytest.approx(18_000, rel=0.1)


def test_images_of_one_a_patient_are_counted_and_rounded() -> None:
    rows = np.eye(2)[[0] * 43 + [1] * 28]
    assert told(rows, voxels=False) == (40, 30)
    assert told(rows, least=1, voxels=False) == (40, 30)


def test_where_a_site_allows_figures_of_one_patient_they_are_exact_but_for_two_digits() -> None:
    assert told([[40]] * 11 + [[71_234]], least=1) == (72_000,)
