"""The accountant says what Opacus says for the same steps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from shared.privacy.accounting import AccountingError, Steps, epsilon_of, noise_for, rounds_within

DELTA = 1e-5
# Few different pairs, as equal pairs are what the module puts together.
STRETCHES = st.builds(
    Steps,
    noise_multiplier=st.sampled_from([0.6, 0.85, 1.1, 3.0, 12.0]),
    sample_rate=st.sampled_from([0.001, 0.02, 1.0]),
    steps=st.integers(1, 3000),
)


def by_opacus(history: list[Steps], delta: float) -> float:
    accountant = RDPAccountant()
    accountant.history = [(step.noise_multiplier, step.sample_rate, step.steps) for step in history]
    return accountant.get_epsilon(delta)


@settings(max_examples=20, deadline=None)
@given(st.lists(STRETCHES, min_size=1, max_size=4), st.sampled_from([1e-3, 1e-5, 1e-8]))
def test_any_history_costs_what_opacus_says(history: list[Steps], delta: float) -> None:
    expected = by_opacus(history, delta)
    assert epsilon_of(history, delta) == pytest.approx(expected, rel=1e-9, abs=1e-3)
    assert epsilon_of(history[::-1], delta) == pytest.approx(expected, rel=1e-9, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 20.0), st.floats(1e-4, 1.0), st.integers(1, 20_000))
def test_any_noise_and_rate_cost_what_opacus_says(noise: float, rate: float, steps: int) -> None:
    history = [Steps(noise, rate, steps)]
    assert epsilon_of(history, DELTA) == pytest.approx(by_opacus(history, DELTA), rel=1e-9, abs=1e-3)


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


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(8.0, 0.02, 1000), (1.0, 0.1, 200), (0.5, 1.0, 10)])
def test_the_noise_found_keeps_the_promise_and_wastes_little(epsilon: float, rate: float, steps: int) -> None:
    noise = noise_for(epsilon, DELTA, rate, steps)
    assert epsilon - 0.01 <= epsilon_of([Steps(noise, rate, steps)], DELTA) <= epsilon


def test_a_promise_without_any_noise_for_it_is_refused() -> None:
    with pytest.raises(AccountingError, match=r"no noise gives epsilon 0\.001") as caught:
        noise_for(0.001, DELTA, 0.5, 10_000)
    assert caught.value.remedy is not None


def test_as_many_rounds_fit_as_can_be_taken_one_by_one() -> None:
    history, round_ = [Steps(0.9, 0.05, 100)], Steps(1.1, 0.02, 50)
    cap = 8.0
    limits = {"epsilon": cap, "delta": DELTA, "accountant": "rdp"}
    fit = rounds_within(history, round_, **limits, most=10_000)
    assert epsilon_of([*history, *[round_] * fit], DELTA) <= cap
    assert epsilon_of([*history, *[round_] * (fit + 1)], DELTA) > cap
    assert rounds_within(history, round_, **limits, most=3) == 3
    assert rounds_within(history, round_, **{**limits, "epsilon": 0.01}, most=3) == 0
