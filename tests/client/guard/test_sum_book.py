"""What a site remembers of the sums that it was in."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict
from hypothesis import given
from hypothesis import strategies as st

from client.guard.model_sketch import KEY_BYTES, distance, sketch_of
from client.guard.sum_book import NEAR_IN_OTHER_JOBS, SumBook, Summed
from shared.networks.build import build_model
from shared.privacy.secagg.errors import SecureAggregationError
from shared.strategies.wire import Wire
from shared.wire import messages
from tests.jobs import marks_job

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
ABC, AB = ("alpha", "beta", "gamma"), ("alpha", "beta")


def model(seed: int, size: int = 100_000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, size).astype(np.float32)


def test_a_sketch_is_linear():
    one, other, key = model(1), model(2), bytes(KEY_BYTES)
    both = sketch_of(one + other, key)
    assert np.allclose(both, sketch_of(one, key) + sketch_of(other, key), atol=1e-3)


@given(KEYS, st.floats(1e-7, 1.0), st.integers(0, 2**32 - 1))
def test_the_distance_of_sketches_is_nearly_that_of_the_models(key, share, seed):
    one = model(0, 5000)
    step = model(seed + 1, 5000)
    other = (one + np.float32(share) * step).astype(np.float32)
    true = np.linalg.norm(one.astype(float) - other) / max(np.linalg.norm(one), np.linalg.norm(other))
    assert 0.3 * true <= distance(sketch_of(one, key), sketch_of(other, key)) <= 3 * true


@given(KEYS)
def test_models_of_two_seeds_are_far_apart(key):
    assert distance(sketch_of(model(1, 5000), key), sketch_of(model(2, 5000), key)) > 10 * NEAR_IN_OTHER_JOBS


def take(path: Path, vector: np.ndarray, sites: tuple[str, ...], **changes) -> None:
    """Ask a book that was just opened."""
    book = SumBook(path)
    weights = changes.pop("weights", dict.fromkeys(sites, 10))
    given = {"dataset": "discs", "phase": "train", "job": "a" * 64, "settings": "s", "round": 1} | changes
    book.take(Summed(sketch=book.sketch(vector), **given), weights)


@pytest.mark.parametrize(
    ("changes", "vector", "words"),
    [
        ({}, model(2), "this round was summed before"),
        ({"job": "b" * 64}, model(1), "nearly the same model"),
        ({"job": "b" * 64, "round": 7}, model(1) * np.float32(1.01), "nearly the same model"),
        ({"round": 2}, np.nextafter(model(1), np.float32(1), dtype=np.float32), "nearly the same model"),
        ({"job": "b" * 64}, model(2), None),
        ({"job": "b" * 64, "dataset": "other"}, model(1), None),
        ({"job": "b" * 64, "phase": "val"}, model(1), None),
        ({"round": 2}, model(1) + np.float32(1e-3) * model(2), None),
        ({"job": "b" * 64}, model(1, 1000), None),  # of another network
    ],
)
def test_a_second_sum_over_other_sites_is_refused_where_the_difference_tells(
    tmp_path, changes, vector, words
):
    path = tmp_path / "state.sqlite"
    take(path, model(1), ABC)
    take(path, vector, ABC, **changes)  # over the same sites it may be done again
    path.unlink()
    take(path, model(1), ABC)
    if words is None:
        take(path, vector, AB, **changes)
        return
    with pytest.raises(SecureAggregationError, match=words):
        take(path, vector, AB, **changes)
    take(path, model(1), ABC)  # what was refused is not remembered


@pytest.mark.parametrize(
    ("changes", "is_fine"),
    [
        ({}, True),
        ({"weights": {"alpha": 20, "beta": 20, "gamma": 20}}, True),  # the same sum, but for a factor
        ({"weights": {"alpha": 10, "beta": 10, "gamma": 9}}, False),
        ({"settings": "t"}, False),
    ],
)
def test_no_weights_or_settings_single_a_site_out(tmp_path, changes, is_fine):
    path = tmp_path / "state.sqlite"
    take(path, model(1), ABC)
    if is_fine:
        take(path, model(1), ABC, job="b" * 64, **changes)
        return
    with pytest.raises(SecureAggregationError, match="with other weights or other settings"):
        take(path, model(1), ABC, job="b" * 64, **changes)
    take(path, model(2), ABC, job="b" * 64, **changes)  # another seed


def test_a_job_has_the_same_settings_under_another_name_alone(tiny_job):
    one = Summed.of(tiny_job(), "train", 1, b"", "a.csv")
    renamed = Summed.of(tiny_job(job_name="other"), "train", 1, b"", "a.csv")
    assert (one.job != renamed.job, one.settings) == (True, renamed.settings)
    for changes in ({"update_clip": 1.0}, {"training_gradient_clip": 1.0}, {"job_seed": 6}):
        assert Summed.of(tiny_job(**changes), "train", 1, b"", "a.csv").settings != one.settings


def test_what_travels_beside_a_model_makes_no_other_model_of_it(tmp_path, make_site):
    """A control variate of any length changes no step where the learning rate is near zero."""
    job = marks_job(strategy_name="scaffold", job_rounds=3)
    site, wire = make_site().site, Wire.of(build_model(job), job.strategy)
    one = wire.first(wire.model.pack(build_model(job)))
    other = one.copy()
    other[wire.model.size :] = 1e20
    assert other.size > wire.model.size
    vectors = []
    for round_, vector in enumerate((one, other), start=2):
        config = messages.request_config(job.canonical(), wire.layout.digest(), round_)
        record = messages.vector_record(vector)
        request = messages.read_request(RecordDict({messages.ARRAYS: record, messages.CONFIG: config}))
        vectors.append(site.model(request))
    path = tmp_path / "state.sqlite"
    take(path, vectors[0], ABC)
    with pytest.raises(SecureAggregationError, match="nearly the same model"):
        take(path, vectors[1], AB, round=3)
