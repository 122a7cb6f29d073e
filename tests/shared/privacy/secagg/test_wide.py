"""Statistics in a masked sum: numbers of any range, exactly added up, and nothing beside their sum."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.privacy.secagg import wide
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.masks import add_masks
from shared.privacy.secagg.records import STATISTICS, Roster
from shared.privacy.secagg.server import SecAggServer
from tests.shared.privacy.secagg.conftest import HEADER

WHOLE = st.integers(0, 2**256 - 1)
NUMBERS = st.floats(-(2.0**144), 2.0**144).filter(lambda number: number == 0 or abs(number) > 2.0**-47)


def words(*numbers: int) -> np.ndarray:
    content = b"".join(number.to_bytes(32, "little") for number in numbers)
    return np.frombuffer(content, "<u8").astype(np.uint64)


@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=5))
def test_carries_and_borrows_go_through_all_words(pairs):
    values, others = (words(*numbers) for numbers in zip(*pairs, strict=True))
    total = values.copy()
    wide.add(total, others)
    assert total.tolist() == words(*((one + other) % 2**256 for one, other in pairs)).tolist()
    wide.subtract(total, others)
    assert total.tolist() == values.tolist()
    wide.subtract(total, others)
    assert total.tolist() == words(*((one - other) % 2**256 for one, other in pairs)).tolist()


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_sums_are_exact_and_rounded_once(sites):
    total = np.zeros(3 * wide.WORDS, np.uint64)
    for numbers in sites:
        wide.add(total, wide.encode(np.array(numbers)))
    assert wide.decode(total).tolist() == [math.fsum(column) for column in zip(*sites, strict=True)]


@pytest.mark.parametrize("number", [math.nan, math.inf, -(2.0**145)])
def test_what_fits_nowhere_is_refused(number):
    with pytest.raises(SecureAggregationError, match="not finite, or beyond"):
        wide.encode(np.array([1.0, number]))


def test_the_largest_sums_of_a_thousand_sites_fit():
    assert 1000 * wide.LARGEST * 2.0**wide.FRACTION_BITS < 2.0**255


def test_masks_cancel_modulo_256_bits():
    plain = wide.encode(np.array([1.0, -2.5, 2.0**120]))
    masked = plain.copy()
    add_masks(masked, [b"a" * 16], [b"b" * 16], wide.WORDS)
    assert (masked != plain).all()
    add_masks(masked, [b"b" * 16], [b"a" * 16], wide.WORDS)
    assert masked.tolist() == plain.tolist()


@pytest.mark.parametrize("dropped", [None, "site-02"])
def test_a_sum_of_statistics_is_that_of_the_sites_left(hospitals, dropped):
    header = replace(HEADER, phase=STATISTICS, round=0)
    one = hospitals.round(5, header=header)
    one.server = SecAggServer(header, 3 * wide.WORDS, 3, extras=0)
    parts = {name: np.array([number, -1e-6 * number, 1e30]) for number, name in enumerate(one.clients, 1)}
    for client in one.clients.values():
        one.server.take_keys(client.site, client.advertise())
    roster = Roster.from_bytes(one.server.roster().to_bytes())
    for name, client in one.clients.items():
        one.server.take_shares(name, client.share(roster))
    for name, inbox in one.server.inboxes().items():
        one.clients[name].open(inbox)
    left = {name: client for name, client in one.clients.items() if name != dropped}
    for name, client in left.items():
        one.server.take_masked(name, client.mask(wide.encode(parts[name])))
    for name, client in left.items():
        one.server.take_signature(name, client.agree(one.server.outcome()))
    for name, client in left.items():
        one.server.take_reveal(name, client.reveal(one.server.agreement()))
    expected = [math.fsum(column) for column in zip(*(parts[name] for name in left), strict=True)]
    assert wide.decode(one.server.total()).tolist() == expected
