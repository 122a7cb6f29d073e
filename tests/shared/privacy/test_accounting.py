"""The accountant never says less than is lost, and little more: against Google's, and against Opacus's."""

import functools
import math
from itertools import pairwise

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from opacus.accountants import PRVAccountant, RDPAccountant
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

from shared.privacy.accounting import AccountingError, Steps, epsilon_of, noise_for, rounds_within
from shared.privacy.renyi import ORDERS, step_curve

DELTA = 1e-5
USUAL_ORDERS = tuple(RDPAccountant.DEFAULT_ALPHAS)
HIGH_ORDERS = tuple(float(order) for order in ORDERS if order <= 1024)  # Opacus's binomials overflow above
# Few different pairs, as equal pairs are what the module puts together.
STRETCHES = st.builds(
    Steps,
    noise_multiplier=st.sampled_from([0.6, 0.85, 1.1, 3.0, 12.0]),
    sample_rate=st.sampled_from([0.001, 0.02, 1.0]),
    steps=st.integers(1, 3000),
)


def by_opacus(history: list[Steps], delta: float, orders: tuple[float, ...]) -> tuple[float, float]:
    """Return what Opacus's accountant makes of a history, and the order that proves it.

    A curve is computed once for all histories. Its formula goes below 0 where next to nothing is lost, and no
    epsilon does.
    """
    curves = [step.steps * opacus_curve(step.noise_multiplier, step.sample_rate, orders) for step in history]
    epsilon, order = get_privacy_spent(orders=orders, rdp=sum(curves), delta=delta)
    return max(0.0, float(epsilon)), float(order)


@functools.cache
def opacus_curve(noise: float, rate: float, orders: tuple[float, ...]) -> NDArray[np.float64]:
    return np.asarray(compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=orders))


def lost(history: list[Steps], delta: float, accountant: dp_accounting.PrivacyAccountant) -> float:
    """Return what an accountant of Google's says; that of privacy loss distributions is nearly exact."""
    for step in history:
        gaussian = dp_accounting.GaussianDpEvent(step.noise_multiplier)
        event = dp_accounting.PoissonSampledDpEvent(step.sample_rate, gaussian)
        accountant.compose(event if step.sample_rate < 1 else gaussian, step.steps)
    return float(accountant.get_epsilon(delta))


def exact(history: list[Steps], delta: float, interval: float = 1e-4) -> float:
    return lost(history, delta, PLDAccountant(value_discretization_interval=interval))


@settings(max_examples=20, deadline=None)
@given(st.lists(STRETCHES, min_size=1, max_size=4), st.sampled_from([1e-3, 1e-5, 1e-8]))
@example([Steps(12.0, 0.001, 1)], 1e-3)
@example([Steps(12.0, 0.001, 1)], 1e-5)  # proved by an order that Opacus can't compute
def test_any_history_costs_what_opacus_says_or_less(history: list[Steps], delta: float) -> None:
    told = epsilon_of(history, delta)
    assert told <= by_opacus(history, delta, USUAL_ORDERS)[0] * (1 + 1e-9)
    theirs, order = by_opacus(history, delta, HIGH_ORDERS)
    assert told <= theirs * (1 + 1e-9)
    if order < max(HIGH_ORDERS):  # no higher one proves less
        assert told == pytest.approx(theirs, rel=1e-9)
    assert epsilon_of(history[::-1], delta) == pytest.approx(told, rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(
    st.floats(0.6, 50.0), st.sampled_from([0.003, 0.05, 0.4, 1.0]), st.integers(1, 300), st.floats(1e-7, 1e-3)
)
def test_no_less_is_told_than_is_lost(noise: float, rate: float, steps: int, delta: float) -> None:
    history = [Steps(noise, rate, steps)]
    told = epsilon_of(history, delta)
    truth = exact(history, delta, interval=max(1e-4, told * 1e-5))  # finer takes long where much is lost
    assert truth <= told * (1 + 1e-3) + 2e-3  # by so much the oracle itself may say too much


@pytest.mark.parametrize(("noise", "rate"), [(0.8, 0.01), (1.5, 0.3), (20.0, 0.5), (300.0, 1.0)])
def test_the_divergence_is_googles_at_every_whole_order(noise: float, rate: float) -> None:
    kept = [order for order, told in zip(ORDERS, step_curve(noise, rate), strict=True) if told < math.inf]
    whole = [order for order in kept if order == int(order)]
    assert max(whole) == max(ORDERS)
    accountant = RdpAccountant(orders=whole)
    gaussian = dp_accounting.GaussianDpEvent(noise)
    accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, gaussian) if rate < 1 else gaussian)
    told = [value for order, value in zip(ORDERS, step_curve(noise, rate), strict=True) if order in whole]
    assert told == pytest.approx(list(accountant._rdp), rel=1e-5, abs=1e-12)


def test_steps_taken_one_by_one_cost_what_opacus_counts() -> None:
    accountant = RDPAccountant()
    history = [Steps(noise, 0.02, 1) for noise in (1.1, 0.9, 1.1) for _ in range(200)]
    for step in history:
        accountant.step(noise_multiplier=step.noise_multiplier, sample_rate=step.sample_rate)
    assert epsilon_of(history, DELTA) == pytest.approx(accountant.get_epsilon(DELTA), abs=1e-3)


@pytest.mark.parametrize(
    "history",
    [
        [Steps(1.1, 0.02, 500)],
        [Steps(1.1, 0.02, 250), Steps(0.9, 0.05, 100), Steps(1.1, 0.02, 250)],
        [Steps(6.0, 0.3, 40), Steps(2.0, 0.01, 3)],
    ],
)
def test_prv_is_opacus_too_and_not_looser_than_rdp(history: list[Steps]) -> None:
    accountant = PRVAccountant()
    accountant.history = [(step.noise_multiplier, step.sample_rate, step.steps) for step in history]
    epsilon = epsilon_of(history, DELTA, "prv")
    assert epsilon == pytest.approx(accountant.get_epsilon(DELTA), abs=1e-3)
    assert epsilon < epsilon_of(history, DELTA, "rdp")


@settings(max_examples=20, deadline=None)
@given(st.lists(STRETCHES, max_size=4), STRETCHES)
def test_every_step_costs_something_and_never_more_than_alone(history: list[Steps], more: Steps) -> None:
    before, after = epsilon_of(history, DELTA), epsilon_of([*history, more], DELTA)
    assert before <= after <= before + epsilon_of([more], DELTA) + 1e-9


def test_nothing_done_costs_nothing() -> None:
    assert epsilon_of([], DELTA) == 0.0
    assert epsilon_of([Steps(1.0, 0.1, 0)], DELTA) == 0.0


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"), [(8.0, 0.02, 1000), (1.0, 0.1, 200), (0.5, 1.0, 10), (30.0, 0.5, 4)]
)
def test_the_noise_found_keeps_the_promise_and_wastes_little(epsilon: float, rate: float, steps: int) -> None:
    noise = noise_for(epsilon, DELTA, rate, steps)
    assert epsilon * 0.995 <= epsilon_of([Steps(noise, rate, steps)], DELTA) <= epsilon
    assert exact([Steps(noise, rate, steps)], DELTA, interval=1e-3) >= 0.85 * epsilon


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.103, 0.11])
def test_small_promises_have_their_noise(epsilon: float) -> None:
    """Orders up to 63 alone find none for 0.103 and below."""
    noise = noise_for(epsilon, DELTA, 1.0, 10)
    truth = exact([Steps(noise, 1.0, 10)], DELTA, interval=epsilon / 500)
    assert 0.7 * epsilon <= truth <= epsilon


def test_less_noise_is_found_for_a_larger_promise_without_a_jump() -> None:
    promises = [0.01 * 1.25**power for power in range(0, 35, 5)]
    noises = [noise_for(epsilon, DELTA, 0.1, 200) for epsilon in promises]
    assert all(1.0 < before / after < 1.25**5.5 for before, after in pairwise(noises))


@pytest.mark.parametrize("delta", [0.0, 0.01, 0.9, 1.0])
@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_no_epsilon_is_told_of_a_delta_that_promises_nothing(delta: float, accountant: str) -> None:
    with pytest.raises(AccountingError, match="promises nothing"):
        epsilon_of([Steps(5.0, 1.0, 4)], delta, accountant)


def test_as_many_rounds_fit_as_can_be_taken_one_by_one() -> None:
    history, round_ = [Steps(0.9, 0.05, 100)], Steps(1.1, 0.02, 50)
    cap = 8.0
    limits = {"epsilon": cap, "delta": DELTA, "accountant": "rdp"}
    fit = rounds_within(history, round_, **limits, most=10_000)
    assert epsilon_of([*history, *[round_] * fit], DELTA) <= cap
    assert epsilon_of([*history, *[round_] * (fit + 1)], DELTA) > cap
    assert rounds_within(history, round_, **limits, most=3) == 3
    assert rounds_within(history, round_, **{**limits, "epsilon": 0.01}, most=3) == 0
