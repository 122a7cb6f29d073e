"""APFL, MOON, swarm and FedBuff against the algorithms of their papers written down plainly."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.strategies.apfl import APFL
from shared.strategies.fedbuff import FedBuff
from shared.strategies.flame import Flame
from shared.strategies.moon import LAST, MOON, ModelContrast
from shared.strategies.swarm import Swarm
from shared.strategies.vectors import MODEL
from shared.wire.packed_model import Entry, Layout
from tests.shared.strategies.site import SIZE, Site

LAYOUT = Layout((Entry("w", (SIZE,)),), SIZE)
rates = st.floats(0.01, 0.2)
counts = st.integers(1, 4)


@given(rates, counts, st.floats(0, 1), st.booleans())
def test_apfl_is_algorithm_1(rate, count, share, adaptive):
    sites = [Site.drawn(seed, rate, count) for seed in (1, 2)]
    half = APFL(name="apfl", share=share, adaptive=adaptive).site(LAYOUT, frozenset())
    sent, kept = {MODEL: np.ones(SIZE, np.float32)}, [{}, {}]
    shared, own, shares = np.ones(SIZE), np.ones((2, SIZE)), [share, share]
    for _ in range(3):
        answers, models = [], []
        for name, site in enumerate(sites):
            answer, kept[name] = half.round(site, sent, kept[name])
            answers.append(answer[MODEL])

            w = shared.copy()
            for _ in range(count):
                a, v = shares[name], own[name].copy()
                slope = site.gradient(a * v + (1 - a) * w)
                own[name] = v - rate * a * slope
                if adaptive:
                    shares[name] = min(max(a - rate * (v - w) @ slope, 0.0), 1.0)
                w = w - rate * site.gradient(w)
            models.append(w)
        sent, shared = {MODEL: np.mean(answers, axis=0)}, np.mean(models, axis=0)
        np.testing.assert_allclose(sent[MODEL], shared, rtol=1e-3, atol=1e-4)
        for name, a in enumerate(shares):
            mixture = a * own[name] + (1 - a) * shared
            np.testing.assert_allclose(half.judged(sent, kept[name]), mixture, rtol=1e-3, atol=1e-3)


def test_apfl_learns_to_trust_its_own_model_where_the_sites_want_different_ones():
    sites = [Site(np.eye(SIZE), np.full(SIZE, goal), 0.1, 5) for goal in (-1.0, 1.0)]
    half = APFL(name="apfl").site(LAYOUT, frozenset())
    sent, kept = {MODEL: np.zeros(SIZE, np.float32)}, [{}, {}]
    for _ in range(40):
        answers = []
        for name, site in enumerate(sites):
            answer, kept[name] = half.round(site, sent, kept[name])
            answers.append(answer[MODEL])
        sent = {MODEL: np.mean(answers, axis=0)}
    for goal, own in zip((-1.0, 1.0), kept, strict=True):
        assert own["share"][0] > 0.5
        np.testing.assert_allclose(half.judged(sent, own), goal, atol=0.05)
    np.testing.assert_allclose(sent[MODEL], 0, atol=0.05)


def test_the_contrast_of_moon_is_equation_3():
    drawn = torch.Generator().manual_seed(0)
    z, near, far = (torch.randn(5, 7, generator=drawn) for _ in range(3))
    model = np.zeros(SIZE, np.float32)
    found = ModelContrast(model, model, 2.0, 0.5).losses(z, near, far)
    like, unlike = (
        torch.exp((z * other).sum(dim=1) / z.norm(dim=1) / other.norm(dim=1) / 0.5) for other in (near, far)
    )
    torch.testing.assert_close(found, -2.0 * torch.log(like / (like + unlike)))


def test_moon_compares_the_model_that_came_with_the_one_that_it_had():
    seen = []

    def train(model, *, contrast=None):
        seen.append(contrast)
        return Site.drawn(1, 0.1, 1)(model)

    half = MOON(name="moon").site(LAYOUT, frozenset())
    first, then = ({MODEL: np.full(SIZE, value, np.float32)} for value in (1.0, 2.0))
    answer, kept = half.round(train, first, {})
    half.round(train, then, kept)
    assert seen[0] is None
    np.testing.assert_array_equal(seen[1].towards, then[MODEL])
    np.testing.assert_array_equal(seen[1].away, answer[MODEL])
    np.testing.assert_array_equal(kept[LAST], answer[MODEL])


def test_flame_sends_a_mean_of_updates_in_which_the_last_counts_most():
    site, share = Site.drawn(1, 0.1, 2), 0.75
    half = Flame(name="flame", momentum=share).site(LAYOUT, frozenset())
    kept, mean = {}, None
    for came in (1.0, -2.0, 0.5):
        sent = np.full(SIZE, came, np.float32)
        update = site(sent).model - sent
        answer, kept = half.round(site, {MODEL: sent}, kept)
        mean = update if mean is None else (1 - share) * update + share * mean
        np.testing.assert_allclose(answer[MODEL], sent + mean, rtol=1e-5, atol=1e-6)


@given(rates, counts, st.floats(0, 0.9))
def test_swarm_merges_and_then_trains(rate, count, share):
    site = Site.drawn(1, rate, count)
    half = Swarm(name="swarm", min_sites=1, own_share=share).site(LAYOUT, frozenset())
    own, kept = None, {}
    for came in (1.0, -2.0, 0.5):
        answer, kept = half.round(site, {MODEL: np.full(SIZE, came, np.float32)}, kept)
        w = np.full(SIZE, came) if own is None else share * own + (1 - share) * came
        for _ in range(count):
            w = w - rate * site.gradient(w)
        own = w
        np.testing.assert_allclose(answer[MODEL], w, rtol=1e-3, atol=1e-4)


def test_in_a_swarm_another_site_has_each_turn_and_the_seed_draws_it():
    swarm, sites = Swarm(name="swarm", min_sites=1), ["a", "b", "c"]
    turns = [swarm.turn(sites, round_, 5) for round_ in range(1, 200)]
    assert all(len(turn) == 1 and turn != after for turn, after in pairwise(turns))
    assert all(50 < turns.count([site]) < 85 for site in sites)
    assert turns != [swarm.turn(sites, round_, 6) for round_ in range(1, 200)]
    assert swarm.turn(["a"], 3, 5) == ["a"]


@given(rates, counts, st.floats(0.5, 1.5), st.integers(0, 20))
def test_fedbuff_is_algorithm_1(rate, count, server_rate, seed):
    """Beside an asynchronous server whose clients arrive in the same order."""
    names = ["a", "b", "c"]
    sites = {name: Site.drawn(number, rate, count) for number, name in enumerate(names)}
    options = FedBuff(name="fedbuff", buffer=2, server_learning_rate=server_rate)
    half, kept = options.site(LAYOUT, frozenset()), {name: {} for name in names}
    sent = {MODEL: np.ones(SIZE, np.float32)}

    w, began = np.ones(SIZE), {}
    for round_ in range(1, 7):
        buffered = options.turn(names, round_, seed)
        assert len(set(buffered)) == 2
        answers, changes = [], []
        for name in buffered:
            sites[name].left = 6 - round_
            answer, kept[name] = half.round(sites[name], sent, kept[name])
            answers.append(answer[MODEL])

            start, version = began.get(name, (w, round_))
            y = start.copy()
            for _ in range(count):
                y = y - rate * sites[name].gradient(y)
            changes.append((y - start) / np.sqrt(1 + round_ - version))
        for name in buffered:
            began[name] = (w, round_)
        sent = {MODEL: np.mean(answers, axis=0)}
        w = w + server_rate * np.mean(changes, axis=0)
        np.testing.assert_allclose(sent[MODEL], w, rtol=1e-3, atol=1e-3)


def test_slow_sites_are_in_fewer_buffers_and_all_alike_in_as_many():
    names = [f"s{number}" for number in range(6)]
    different, alike = (FedBuff(name="fedbuff", buffer=2, spread=spread) for spread in (2.0, 0.0))

    def turns_of(options: FedBuff) -> list[int]:
        drawn = [name for round_ in range(1, 61) for name in options.turn(names, round_, 3)]
        return sorted(drawn.count(name) for name in names)

    few, many = turns_of(different)[0], turns_of(different)[-1]
    assert many > 5 * few
    steady = turns_of(alike)
    assert steady[-1] < 2 * steady[0]
    with pytest.raises(ValueError, match="spread"):
        FedBuff(name="fedbuff", spread=-1.0)
