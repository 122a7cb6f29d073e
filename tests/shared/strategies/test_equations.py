"""The strategies with state at the sites, against the algorithms of their papers written down plainly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strategies.ditto import Ditto
from shared.strategies.fedavg import FedAvg
from shared.strategies.fedbn import Overlaid
from shared.strategies.feddyn import SLOPE, FedDyn, H, Tilted
from shared.strategies.fedprox import FedProx
from shared.strategies.scaffold import CONTROL, Scaffold
from shared.strategies.vectors import MODEL
from shared.wire.packed_model import Entry, Layout
from tests.shared.strategies.site import SIZE, Site

LAYOUT = Layout((Entry("w", (SIZE,)),), SIZE)
ROUNDS = 4
rates = st.floats(0.01, 0.2)
steps = st.integers(1, 4)
taking_part = st.lists(st.sets(st.sampled_from([0, 1]), min_size=1), min_size=ROUNDS, max_size=ROUNDS)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


@given(rates, steps, taking_part, st.floats(0.5, 1.5))
def test_scaffold_is_algorithm_1(rate, count, drawn, server_rate):
    sites = [Site.drawn(seed, rate, count) for seed in (1, 2)]
    options = Scaffold(name="scaffold", server_learning_rate=server_rate)
    half, kept = options.site(LAYOUT, frozenset()), [{}, {}]
    sent = {MODEL: np.zeros(SIZE, np.float32), CONTROL: np.zeros(SIZE, np.float32)}

    x, c, own = np.zeros(SIZE), np.zeros(SIZE), np.zeros((2, SIZE))
    for names in drawn:
        answers = []
        for name in sorted(names):
            answer, kept[name] = half.round(sites[name], sent, kept[name])
            answers.append(answer)
        mean = {key: np.mean([answer[key] for answer in answers], axis=0) for key in sent}
        sent, _ = options.conclude(mean, sent, {}, len(names) / 2)

        changes, control_changes = [], []
        for name in sorted(names):
            y = x.copy()
            for _ in range(count):
                y -= rate * (sites[name].gradient(y) - own[name] + c)
            new = own[name] - c + (x - y) / (count * rate)
            changes.append(y - x)
            control_changes.append(new - own[name])
            own[name] = new
        x = x + server_rate * np.mean(changes, axis=0)
        c = c + len(names) / 2 * np.mean(control_changes, axis=0)
        np.testing.assert_allclose(sent[MODEL], x, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(sent[CONTROL], c, rtol=1e-3, atol=1e-3)


@given(rates, steps, taking_part, st.floats(0.05, 2))
def test_feddyn_is_algorithm_1(rate, count, drawn, alpha):
    """With so many steps of gradient descent where the paper has the minimum of equation 1."""
    sites = [Site.drawn(seed, rate, count) for seed in (1, 2)]
    options = FedDyn(name="feddyn", alpha=alpha)
    half, kept = options.site(LAYOUT, frozenset()), [{}, {}]
    sent, remembered = {MODEL: np.zeros(SIZE, np.float32)}, {H: np.zeros(SIZE, np.float32)}

    theta, h, slopes = np.zeros(SIZE), np.zeros(SIZE), np.zeros((2, SIZE))
    for names in drawn:
        answers, models = [], []
        for name in sorted(names):
            answer, kept[name] = half.round(sites[name], sent, kept[name])
            answers.append(answer[MODEL])

            own = theta.copy()
            for _ in range(count):
                own -= rate * (sites[name].gradient(own) - slopes[name] + alpha * (own - theta))
            slopes[name] -= alpha * (own - theta)
            models.append(own)
        sent, remembered = options.conclude(
            {MODEL: np.mean(answers, axis=0)}, sent, remembered, len(names) / 2
        )
        h = h - alpha / 2 * np.sum([own - theta for own in models], axis=0)
        theta = np.mean(models, axis=0) - h / alpha
        np.testing.assert_allclose(sent[MODEL], theta, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(remembered[H], h, rtol=1e-3, atol=1e-3)
        for name in sorted(names):
            np.testing.assert_allclose(kept[name][SLOPE], slopes[name], rtol=1e-3, atol=1e-3)


def test_what_a_site_keeps_of_feddyn_is_the_gradient_of_its_loss():
    """Where the site trains to the minimum (the first-order condition behind equation 2)."""
    site, half = Site.drawn(1, 0.1, 2000), Tilted(SIZE, 0.3)
    start, kept = np.ones(SIZE, np.float32), {SLOPE: vector(1, -2, 0.5, 0)}
    sent, kept = half.round(site, {MODEL: start}, kept)
    np.testing.assert_allclose(kept[SLOPE], site.gradient(sent[MODEL]), atol=1e-4)


@pytest.mark.parametrize("options", [Scaffold(name="scaffold"), FedDyn(name="feddyn", alpha=1.0)])
def test_the_common_minimum_is_found_where_fedavg_does_not(options):
    sites = [Site.drawn(seed, 0.1, 20) for seed in (1, 2)]
    stacked = np.concatenate([site.a for site in sites]), np.concatenate([site.b for site in sites])
    minimum = np.linalg.lstsq(*stacked, rcond=None)[0]
    assert np.abs(after_rounds(options, sites) - minimum).max() < 1e-4
    assert np.abs(after_rounds(FedAvg(name="fedavg"), sites) - minimum).max() > 1e-2


def after_rounds(options, sites: list[Site]) -> np.ndarray:
    """Return the model after 300 rounds of all sites."""
    half, kept = options.site(LAYOUT, frozenset()), [{} for _ in sites]
    lengths = {MODEL: SIZE, **options.sends(LAYOUT)}
    sent = {name: np.zeros(length, np.float32) for name, length in lengths.items()}
    remembered = {name: np.zeros(length, np.float32) for name, length in options.remembers(LAYOUT).items()}
    for _ in range(300):
        answers = []
        for name, site in enumerate(sites):
            answer, kept[name] = half.round(site, sent, kept[name])
            answers.append(answer)
        mean = {key: np.mean([answer[key] for answer in answers], axis=0) for key in lengths}
        sent, remembered = options.conclude(mean, sent, remembered, 1.0)
    return sent[MODEL]


@given(rates, steps, st.floats(0, 2), taking_part)
def test_ditto_is_algorithm_1(rate, count, weight, drawn):
    sites = [Site.drawn(seed, rate, count) for seed in (1, 2)]
    half, kept = Ditto(name="ditto", pull=weight).site(LAYOUT, frozenset()), [{}, {}]
    sent, w = {MODEL: np.ones(SIZE, np.float32)}, np.ones(SIZE)
    own = [None, None]
    for names in drawn:
        answers, models = [], []
        for name in sorted(names):
            answer, kept[name] = half.round(sites[name], sent, kept[name])
            answers.append(answer[MODEL])

            y, v = w.copy(), w.copy() if own[name] is None else own[name]
            for _ in range(count):
                y = y - rate * sites[name].gradient(y)
                v = v - rate * (sites[name].gradient(v) + weight * (v - w))
            models.append(y)
            own[name] = v
        sent, w = {MODEL: np.mean(answers, axis=0)}, np.mean(models, axis=0)
        np.testing.assert_allclose(sent[MODEL], w, rtol=1e-3, atol=1e-4)
        for name in sorted(names):
            np.testing.assert_allclose(half.judged(sent, kept[name]), own[name], rtol=1e-3, atol=1e-4)


@given(rates, steps, taking_part)
def test_fedbn_averages_all_but_the_own_numbers(rate, count, drawn):
    sites = [Site.drawn(seed, rate, count) for seed in (1, 2)]
    places = np.array([1, 3])
    half, kept = Overlaid(places), [{}, {}]
    sent, shared = {MODEL: np.ones(SIZE, np.float32)}, np.ones(SIZE)
    own = np.ones((2, 2))
    for names in drawn:
        answers, models = [], []
        for name in sorted(names):
            answer, kept[name] = half.round(sites[name], sent, kept[name])
            answers.append(answer[MODEL])

            y = shared.copy()
            y[places] = own[name]
            for _ in range(count):
                y = y - rate * sites[name].gradient(y)
            own[name] = y[places]
            models.append(y)
        shared = np.mean(models, axis=0)
        shared[places] = 1.0  # the coordinator never has them: the first model's stand there
        mean = np.mean(answers, axis=0)
        mean[places] = 1.0
        sent = {MODEL: mean}
        np.testing.assert_allclose(sent[MODEL], shared, rtol=1e-3, atol=1e-4)
        for name in sorted(names):
            np.testing.assert_allclose(half.judged(sent, kept[name])[places], own[name], rtol=1e-3, atol=1e-4)


@given(rates, steps, st.floats(0.01, 2))
def test_fedprox_is_equation_2(rate, count, mu):
    site = Site.drawn(1, rate, count)
    half, start = FedProx(name="fedprox", proximal_mu=mu).site(LAYOUT, frozenset()), np.ones(SIZE, np.float32)
    sent, keep = half.round(site, {MODEL: start}, {})
    w = np.ones(SIZE)
    for _ in range(count):
        w = w - rate * (site.gradient(w) + mu * (w - 1))
    np.testing.assert_allclose(sent[MODEL], w, rtol=1e-3, atol=1e-4)
    assert not keep


@pytest.mark.parametrize("options", [Scaffold(name="scaffold"), FedDyn(name="feddyn"), Ditto(name="ditto")])
def test_what_a_site_was_sent_and_has_kept_stays_as_it_was(options):
    half, site = options.site(LAYOUT, frozenset()), Site.drawn(1, 0.1, 2)
    sent = {MODEL: vector(1, 2, 3, 4), CONTROL: vector(0, 1, 0, 1)}
    before = {key: value.copy() for key, value in sent.items()}
    _, kept = half.round(site, sent, {})
    copies = {key: value.copy() for key, value in kept.items()}
    half.round(site, sent, kept)
    assert all(np.array_equal(sent[key], before[key]) for key in sent)
    assert all(np.array_equal(kept[key], copies[key]) for key in kept)
