"""The parts of secure aggregation: sharing, key streams, fixed-point numbers, the graph, the messages."""

import itertools
import math

import networkx
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.privacy.secagg import shamir
from shared.privacy.secagg.claims import MOST_PATIENTS, Claims
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import EXTRAS, LARGEST_VALUE, Codec
from shared.privacy.secagg.graph import DEGREE, Plan, Ring, is_safe
from shared.privacy.secagg.limits import LARGEST_WEIGHT, MOST_SITES
from shared.privacy.secagg.masks import add_masks
from shared.privacy.secagg.records import (
    PHASES,
    SEALED_BYTES,
    Agreement,
    Envelope,
    Envelopes,
    Header,
    KeyMessage,
    Outcome,
    Reveal,
    Roster,
)
from tests.work import calls_of

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
BYTES32 = st.binary(min_size=32, max_size=32)
SECRETS = st.integers(0, 2**256 - 1)
HEADERS = st.builds(Header, BYTES32, st.integers(0, 2**32 - 1), BYTES32, st.sampled_from(PHASES), BYTES32)
SIGNATURES = st.binary(min_size=1, max_size=128)
SORTED = st.sets(NAMES, max_size=6).map(lambda found: tuple(sorted(found)))
CLAIMS = st.builds(Claims, st.integers(0, LARGEST_WEIGHT), st.integers(0, MOST_PATIENTS))
KEYS = st.builds(
    KeyMessage,
    HEADERS,
    NAMES,
    BYTES32,
    BYTES32,
    BYTES32,
    CLAIMS,
    st.binary(min_size=1, max_size=900),
    SIGNATURES,
)
ROSTERS = st.lists(KEYS, max_size=4, unique_by=lambda key: key.site).map(
    lambda keys: Roster(tuple(sorted(keys, key=lambda key: key.site)))
)
ENVELOPES = st.lists(
    st.builds(Envelope, NAMES, NAMES, st.binary(min_size=SEALED_BYTES, max_size=SEALED_BYTES)),
    max_size=4,
    unique_by=lambda one: (one.sender, one.recipient),
).map(lambda found: Envelopes(tuple(sorted(found, key=lambda one: (one.sender, one.recipient)))))
SHARES = st.dictionaries(NAMES, st.integers(0, shamir.PRIME - 1), max_size=4).map(
    lambda found: tuple(sorted(found.items()))
)
AGREEMENTS = st.dictionaries(NAMES, SIGNATURES, max_size=4).map(
    lambda found: Agreement(tuple(sorted(found.items())))
)
MESSAGES = st.one_of(
    HEADERS,
    CLAIMS,
    KEYS,
    ROSTERS,
    ENVELOPES,
    AGREEMENTS,
    st.builds(Outcome, SORTED, SORTED),
    st.builds(Reveal, SHARES, SHARES),
)


def is_prime(number: int) -> bool:
    """Miller and Rabin, with the first forty primes as witnesses."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    witnesses = [p for p in range(2, 180) if all(p % q for q in range(2, math.isqrt(p) + 1))]
    return all(
        pow(witness, odd, number) == 1
        or any(pow(witness, odd << power, number) == number - 1 for power in range(twos))
        for witness in witnesses
    )


def test_the_field_is_a_prime_field_and_its_prime_the_least() -> None:
    assert is_prime(shamir.PRIME)
    assert not any(is_prime(number) for number in range(2**256, shamir.PRIME))


@given(SECRETS, st.integers(1, 12), st.integers(0, 6), st.randoms())
def test_any_threshold_of_shares_gives_the_secret_back(secret, threshold, spare, random):
    shares = shamir.split(secret, threshold, threshold + spare)
    points = random.sample(range(1, threshold + spare + 1), threshold)
    assert shamir.join([shares[point - 1] for point in points], shamir.weights(points)) == secret


def test_fewer_shares_fit_every_secret():
    points = [1, 3, 4]
    held = [shamir.split(42, 4, 6)[point - 1] for point in points]
    for secret in (0, 42, 2**256 - 1):  # there is a fourth share with which the three give this secret
        lagrange = shamir.weights([*points, 6])
        known = sum(share * weight for share, weight in zip(held, lagrange, strict=False))
        fourth = (secret - known) * pow(lagrange[-1], -1, shamir.PRIME) % shamir.PRIME
        assert shamir.join([*held, fourth], lagrange) == secret


def test_a_share_beyond_the_field_is_refused():
    with pytest.raises(ValueError, match="field"):
        shamir.share_from_bytes(shamir.PRIME.to_bytes(33, "big"))
    for arguments in ((-1, 1, 2), (shamir.PRIME, 1, 2), (1, 3, 2), (1, 0, 2)):
        with pytest.raises(ValueError, match="out of range"):
            shamir.split(*arguments)
    for points in ([1, 1], [0, 1]):
        with pytest.raises(ValueError, match="point"):
            shamir.weights(points)


@pytest.mark.parametrize("size", [0, 1, 5, 1 << 14, (1 << 14) + 3, 50_000])
def test_masks_are_aes_in_counter_mode_and_cancel(size):
    key, other = bytes(range(16)), bytes(16)
    values = np.zeros(size, dtype=np.uint64)
    add_masks(values, [key], [])
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(8 * size))
    assert values.tobytes() == stream
    add_masks(values, [other], [key])
    add_masks(values, [], [other])
    assert not values.any()


@given(
    st.integers(1, MOST_SITES),
    st.sampled_from([1, 7, 300, LARGEST_WEIGHT]),
    st.sampled_from([1, 1000, LARGEST_VALUE]),
)
def test_no_sum_of_the_declared_sites_can_overflow(sites, weight, value):
    codec = Codec(sites, weight, value)
    for sign in (1, -1):  # every site at the far end of its range
        one = int(codec.encode(np.array([sign * value], np.float32), weight, sign * value).view(np.int64)[0])
        assert one == sign * (weight * value << codec.fraction_bits)
        assert -(2**63) <= sites * one < 2**63
    # Rounding adds at most a half for each; one bit more would not fit.
    assert sites * ((weight * value << codec.fraction_bits) + 1) < 2**63
    assert sites * ((weight * value << (codec.fraction_bits + 1)) + 1) >= 2**63


@given(st.integers(1, 30), st.integers(0, 2**32 - 1), st.booleans())
def test_the_mean_is_right_to_the_quantisation_step(sites, seed, large):
    generator = np.random.default_rng(seed)
    codec = Codec(sites)
    span = LARGEST_VALUE if large else 1.0
    vectors = generator.uniform(-span, span, (sites, 20)).astype(np.float32)
    weights = generator.integers(1, LARGEST_WEIGHT, sites, endpoint=True)
    losses = np.where(generator.random(sites) < 0.3, np.nan, generator.uniform(0, 9, sites))
    total = np.zeros(20 + EXTRAS, dtype=np.uint64)
    for vector, weight, loss in zip(vectors, weights, losses, strict=True):
        total += codec.encode(vector, int(weight), float(loss))
    mean = codec.decode(total)
    assert mean.weight == weights.sum()
    exact = [
        float(
            sum(int(w) * int(x) for w, x in zip(weights, column, strict=True)) / int(weights.sum()) / 2**149
        )
        for column in np.vectorize(lambda x: int(math.ldexp(float(x), 149)), otypes=[object])(vectors.T)
    ]
    step = math.ldexp(sites / (2 * mean.weight), -codec.fraction_bits)
    assert np.all(np.abs(mean.vector - np.float32(exact)) <= step + np.spacing(np.abs(np.float32(exact))))
    shared = ~np.isnan(losses)
    if shared.any():
        assert mean.loss == pytest.approx(np.average(losses[shared], weights=weights[shared]), rel=1e-5)
    else:
        assert math.isnan(mean.loss)


@pytest.mark.parametrize(
    ("vector", "weight"),
    [([np.nan], 1), ([np.inf], 1), ([LARGEST_VALUE * 1.01], 1), ([1.0], 0), ([1.0], LARGEST_WEIGHT + 1)],
)
def test_what_was_not_declared_is_not_encoded(vector, weight):
    with pytest.raises(SecureAggregationError):
        Codec(3).encode(np.array(vector, np.float32), weight, 0.5)


def test_a_sum_that_is_none_is_refused():
    random = np.random.default_rng(0).integers(0, 2**64, 5, dtype=np.uint64)
    with pytest.raises(SecureAggregationError, match="no sense"):
        Codec(3).decode(random)
    with pytest.raises(SecureAggregationError, match="too many"):
        _ = Codec(2**40, 2**20, 2**16).fraction_bits


def graph_of(ring: Ring) -> networkx.Graph:
    return networkx.Graph((site, other) for site in ring.order for other in ring.neighbours(site))


@pytest.mark.parametrize("count", [3, 10, 17, 18, 19, 25, 50])
def test_the_graph_is_a_harary_graph(count):
    ring = Ring([f"s{number}" for number in range(count)], b"seed")
    graph = graph_of(ring)
    degree = min(DEGREE, count - 1)
    assert {degree for _, degree in graph.degree} == {degree}
    assert networkx.node_connectivity(graph) == degree
    if count == 50:
        assert ring.order != Ring(ring.order, b"other").order


@settings(max_examples=40)
@given(st.integers(18, 30), st.integers(0, 2**32 - 1), st.floats(0.0, 0.7), st.booleans())
def test_connectivity_is_that_of_the_graph(count, seed, share, in_a_row):
    ring = Ring([f"s{number}" for number in range(count)], b"seed")
    number = min(int(share * count), count - 3)
    generator = np.random.default_rng(seed)
    start = int(generator.integers(count))
    gone = (
        {ring.order[(start + step) % count] for step in range(number)}
        if in_a_row
        else set(generator.choice(ring.order, number, replace=False))
    )
    survivors = [site for site in ring.order if site not in gone]
    graph = graph_of(ring).subgraph(survivors)
    assert ring.connectivity(survivors) == networkx.node_connectivity(graph)


def test_the_plan_of_few_and_many_sites():
    assert [(Plan(n).threshold, Plan(n).dropouts, Plan(n).colluders) for n in (3, 4, 5, 10, 17, 50)] == [
        (3, 0, 1),
        (3, 1, 1),
        (4, 1, 2),
        (7, 3, 3),
        (12, 5, 6),
        (34, 16, 3),
    ]
    for count in range(3, 200):
        plan = Plan(count)
        assert 2 * plan.threshold - count > plan.colluders  # two lists can't both be agreed on
        assert plan.threshold - plan.colluders >= 2  # a sum holds two honest updates at least


def test_a_site_can_not_be_cut_off_by_claiming_that_its_neighbours_dropped_out():
    ring = Ring([f"s{number}" for number in range(60)], b"seed")
    victim = ring.order[10]
    claimed = sorted(set(ring.order) - ring.neighbours(victim))
    assert len(claimed) >= Plan(60).threshold
    assert not is_safe(ring, claimed)
    most = [*claimed, *sorted(ring.neighbours(victim))[:3]]
    assert not is_safe(ring, most)
    assert is_safe(ring, sorted(ring.order))


@given(MESSAGES)
def test_messages_survive_the_way_through_bytes(message):
    assert type(message).from_bytes(message.to_bytes()) == message


@given(MESSAGES, st.data())
def test_changed_bytes_are_another_message_or_none(message, data):
    sent = bytearray(message.to_bytes())
    position = data.draw(st.integers(0, len(sent) - 1))
    sent[position] ^= data.draw(st.integers(1, 255))
    with_cut = data.draw(st.sampled_from([bytes(sent), bytes(sent[:position]), bytes(sent) + b"x"]))
    try:
        found = type(message).from_bytes(with_cut)
    except SecureAggregationError:
        return
    assert found != message
    assert found.to_bytes() == with_cut  # there is one way only to write a message


@given(
    st.sampled_from([Header, Claims, KeyMessage, Roster, Envelopes, Outcome, Agreement, Reveal]),
    st.binary(max_size=300),
)
def test_noise_is_refused(kind, noise):
    with pytest.raises(SecureAggregationError):
        kind.from_bytes(noise)


def test_lists_out_of_order_or_with_a_name_twice_are_refused():
    for sites in itertools.product("ab", repeat=2):
        if sites != ("a", "b"):
            with pytest.raises(SecureAggregationError, match="order"):
                Outcome.from_bytes(Outcome(sites, ()).to_bytes())
    with pytest.raises(SecureAggregationError, match="characters"):
        Outcome.from_bytes(Outcome(("../a",), ()).to_bytes())


def test_masks_are_expanded_many_numbers_at_a_time():
    values = np.zeros(1_000_000, dtype=np.uint64)
    assert calls_of(lambda: add_masks(values, [bytes(16)], [])) < 1000  # the benchmark measures it
