"""Metric states in a masked sum: what comes out is what adding them up would give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.metrics.codec import MetricCodec
from shared.tasks import make_task
from tests.shared.metrics.test_metrics import JOBS, assert_same, evaluate, pool, predictions


def masked_sum(contributions):
    """Add contributions under masks that cancel, modulo 2^64, as secure aggregation does."""
    masks = [
        np.random.default_rng(i).integers(0, 2**64, c.size, np.uint64) for i, c in enumerate(contributions)
    ]
    total = np.zeros_like(contributions[0])
    for contribution, mask in zip(contributions, masks, strict=True):
        total += contribution + mask
    for mask in masks:
        total -= mask
    return total


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    seed=st.integers(0, 2**31),
    name=st.sampled_from(sorted(JOBS)),
    factor=st.sampled_from([1.0, 1e-6, 1e4, 1e30]),
)
def test_metrics_of_a_masked_sum_are_those_of_the_sum(sizes, seed, name, factor) -> None:
    spec = JOBS[name]
    logits, targets = predictions(spec, sum(sizes), seed)
    sites = []
    for part in np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]):
        rows = torch.from_numpy(part)
        sites.append(
            evaluate(spec, factor * logits[rows], targets[rows], [f"p{i // 2}-{len(sites)}" for i in part])
        )
    metrics = make_task(spec).metrics()
    codec = MetricCodec(metrics.limits(2**17 * len(sizes)), metrics.counts(), len(sizes))
    total = masked_sum([codec.encode(site.pack()) for site in sites])
    metrics.merge(codec.decode(total))
    assert_same(metrics.compute(), pool(spec, sites))


@given(
    st.lists(st.floats(0, 53), min_size=1, max_size=8),
    st.integers(1, 1000),
    st.integers(0, 2**31),
)
def test_sums_at_the_limit_neither_wrap_nor_lose(powers, sites, seed) -> None:
    limits = np.floor(2.0 ** np.array(powers))
    draw = np.random.default_rng(seed)
    counts = draw.random(len(limits)) < 0.5
    shares = draw.dirichlet(np.ones(sites), len(limits)).T * limits
    shares[:, counts] = np.floor(shares[:, counts])
    shares *= draw.choice([-1, 1], len(limits))
    codec = MetricCodec(limits, counts, sites)
    found = codec.decode(masked_sum([codec.encode(np.clip(share, -limits, limits)) for share in shares]))
    exact = shares.sum(axis=0)
    np.testing.assert_array_equal(found[counts], exact[counts])
    np.testing.assert_allclose(found, exact, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -11.0, 10.5])
def test_what_is_beyond_its_limit_is_not_sent(value) -> None:
    codec = MetricCodec(np.full(3, 10.0), np.array([True, False, False]), 3)
    with pytest.raises(ValueError, match="metric states"):
        codec.encode(np.array([1.0, 1.0, value]))
    with pytest.raises(ValueError, match="expected"):
        codec.encode(np.ones(2))


def test_a_sum_beyond_the_limits_is_refused() -> None:
    codec = MetricCodec(np.full(3, 10.0), np.array([True, False, False]), 3)
    forged = codec.encode(np.array([6.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="beyond"):
        codec.decode(forged + forged)
    with pytest.raises(ValueError, match="expected"):
        codec.decode(forged[:2])


def test_limits_that_no_sum_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        MetricCodec(np.array([2.0**54]), np.array([True]), 3)
