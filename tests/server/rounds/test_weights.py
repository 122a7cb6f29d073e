"""No site has more than its share of a mean."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strategies.largest_share import bounded

WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2**31), min_size=1)
SHARES = st.integers(1, 100).map(lambda hundredths: Fraction(hundredths, 100))


@given(WEIGHTS, SHARES)
def test_no_site_has_more_than_the_share_and_nobody_gains(weights, share):
    cut = bounded(weights, float(share))
    assert cut.keys() == weights.keys()
    assert all(0 <= cut[site] <= weights[site] for site in weights)
    assert all(cut[site] > 0 for site in weights if weights[site] > 0)
    counting = [weight for weight in weights.values() if weight]
    if counting:
        allowed = max(share, Fraction(1, len(counting)))
        # Weights are whole: the smallest there is, 1, may be more than a share.
        assert max(cut.values()) <= max(1, allowed * sum(cut.values()))


@given(WEIGHTS, SHARES)
def test_as_little_as_possible_is_cut(weights, share):
    cut = bounded(weights, float(share))
    counting = [weight for weight in weights.values() if weight]
    most = max(cut.values())
    assert all(cut[site] in (weights[site], most) for site in weights)
    if cut != weights and most > 1:
        more = [min(weight, most + 1) for weight in counting]
        assert most + 1 > max(share, Fraction(1, len(counting))) * sum(more)


@pytest.mark.parametrize(
    ("weights", "share", "expected"),
    [
        ({"a": 100, "b": 50}, 0.6, {"a": 75, "b": 50}),
        ({"a": 2**31, "b": 10, "c": 10, "d": 10}, 0.6, {"a": 45, "b": 10, "c": 10, "d": 10}),
        ({"a": 300, "b": 200, "c": 10}, 0.1, {"a": 10, "b": 10, "c": 10}),
        ({"a": 7}, 0.6, {"a": 7}),
        ({"a": 50, "b": 50}, 0.6, {"a": 50, "b": 50}),
        ({"a": 50, "b": 0}, 0.6, {"a": 50, "b": 0}),
    ],
)
def test_examples(weights, share, expected):
    assert bounded(weights, share) == expected
