"""The losses of survival and its pairs, against loops over patients and against published software."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.tasks.survival.losses import (
    Ties,
    brier_scores,
    cox_losses,
    deephit_losses,
    hazard_losses,
    mean_time,
    pairs,
    ranking_loss,
    shares_by_chance,
    survival_at,
    survival_until,
    surviving,
)

# Ten patients with two events at time 3, two at 5, one censored there, and two columns.
TIMES = torch.tensor([1.0, 3, 3, 3, 4, 5, 5, 5, 8, 9])
OBSERVED = torch.tensor([1.0, 1, 1, 0, 1, 1, 1, 0, 0, 1])
COLUMNS = torch.tensor(
    [
        [1.2, 0.3], [-0.5, 1.1], [0.7, -0.2], [0.1, 0.4], [1.0, -1.3],
        [-0.9, 0.8], [0.3, 0.5], [-1.4, -0.6], [0.2, -0.9], [-0.8, 0.1],
    ],
    dtype=torch.float64,
)  # fmt: skip


def cox_by_loops(scores: list[float], times: list[float], observed: list[float], ties: Ties) -> float:
    """Return the negative log partial likelihood as the papers write it, one time after another."""
    total = 0.0
    for time in sorted({time for time, event in zip(times, observed, strict=True) if event}):
        risk = sum(math.exp(score) for score, other in zip(scores, times, strict=True) if other >= time)
        tied = [
            score
            for score, other, event in zip(scores, times, observed, strict=True)
            if other == time and event
        ]
        among = sum(math.exp(score) for score in tied)
        for number, score in enumerate(tied):
            gone = number / len(tied) * among if ties == "efron" else 0.0
            total += math.log(risk - gone) - score
    return total


def random_patients(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    scores = torch.from_numpy(generator.normal(size=count))
    times = torch.from_numpy(generator.integers(1, count // 2 + 2, count).astype(float))
    return scores, times, torch.from_numpy((generator.random(count) < 0.6).astype(float))


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("seed", range(5))
def test_the_partial_likelihood_is_that_of_the_papers(ties: Ties, seed: int) -> None:
    scores, times, observed = random_patients(23, seed)
    found = cox_losses(scores, times, observed, ties)
    assert float(found.sum()) == pytest.approx(
        cox_by_loops(scores.tolist(), times.tolist(), observed.tolist(), ties), rel=1e-12
    )
    assert (found[observed == 0] == 0).all()


# lifelines 0.30.3 (CoxPHFitter, Efron) and statsmodels 0.14 (PHReg, both) on the table above.
FITTED = {"efron": [2.02493679, 1.35720521], "breslow": [1.93445672, 1.25592970]}


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_a_linear_model_trained_to_convergence_has_the_coefficients_of_published_software(
    ties: Ties,
) -> None:
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-10)

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = cox_losses(COLUMNS @ weights, TIMES.double(), OBSERVED, ties).sum()
        total.backward()
        return total

    optimizer.step(loss)
    assert weights.tolist() == pytest.approx(FITTED[ties], abs=1e-4)


def test_a_batch_in_which_nobody_had_the_event_has_no_loss_and_no_gradient() -> None:
    scores = torch.randn(4, requires_grad=True)
    total = cox_losses(scores, torch.arange(4.0), torch.zeros(4), "efron").sum()
    total.backward()
    assert total.item() == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


def test_large_log_hazards_do_not_overflow() -> None:
    scores = torch.tensor([500.0, -500.0, 499.0], requires_grad=True)
    losses = cox_losses(scores, torch.tensor([1.0, 2, 3]), torch.ones(3), "efron")
    assert torch.isfinite(losses).all()


def hazard_by_loops(logits: list[float], time: float, observed: bool, edges: list[float]) -> float:
    total, start = 0.0, 0.0
    for logit, end in zip(logits, edges, strict=True):
        hazard = 1 / (1 + math.exp(-logit))
        if observed and start <= time < end:
            return total - math.log(hazard)
        if time < (end if observed else (start + end) / 2):
            return total
        total -= math.log(1 - hazard)
        start = end
    return total


@pytest.mark.parametrize(
    ("time", "observed"),
    [(0.0, 1), (0.5, 1), (1.0, 1), (2.9, 1), (7.0, 1), (0.4, 0), (0.5, 0), (1.9, 0), (2.0, 0), (9.0, 0)],
)
def test_the_likelihood_of_hazards_is_that_of_the_paper(time: float, observed: int) -> None:
    logits, edges = [0.3, -1.2, 0.8], [1.0, 3.0, 6.0]
    found = hazard_losses(
        torch.tensor([logits]), torch.tensor([time]), torch.tensor([float(observed)]), torch.tensor(edges)
    )
    assert found.item() == pytest.approx(hazard_by_loops(logits, time, bool(observed), edges), rel=1e-6)


def test_the_loss_of_a_sample_does_not_depend_on_the_batch() -> None:
    logits, edges = torch.randn(6, 4), torch.tensor([1.0, 2, 3, 4])
    times, observed = torch.rand(6) * 5, torch.tensor([1.0, 0, 1, 1, 0, 1])
    together = hazard_losses(logits, times, observed, edges)
    for one in range(6):
        alone = hazard_losses(logits[one : one + 1], times[one : one + 1], observed[one : one + 1], edges)
        assert torch.equal(alone, together[one : one + 1])


def test_survival_is_the_product_of_what_each_interval_leaves() -> None:
    survival = survival_at(torch.tensor([[0.0, 0.0, 1e3]]))
    assert survival[0].tolist() == pytest.approx([0.5, 0.25, 0.0])
    assert mean_time(survival, torch.tensor([2.0, 4.0, 5.0])).item() == pytest.approx(1.5 + 0.75 + 0.125)


def concordance_by_loops(risks: list[float], times: list[float], observed: list[float]) -> float:
    """Return Harrell's C by its definition: of every two patients who can be compared."""
    right = among = 0.0
    for i in range(len(risks)):
        for j in range(len(risks)):
            if observed[i] and (times[i] < times[j] or (times[i] == times[j] and not observed[j])):
                among += 1
                right += 1.0 if risks[i] > risks[j] else 0.5 if risks[i] == risks[j] else 0.0
    return right / among


@pytest.mark.parametrize("seed", range(5))
def test_pairs_give_the_index_of_a_plain_loop(seed: int) -> None:
    risks, times, observed = random_patients(31, seed)
    risks = (risks * 3).round()  # with ties
    right, among = pairs(risks, times, observed).sum(dim=0).tolist()
    assert right / among == pytest.approx(
        concordance_by_loops(risks.tolist(), times.tolist(), observed.tolist()), abs=1e-12
    )


def test_pairs_give_the_index_of_lifelines() -> None:
    risks = COLUMNS[:, 0]
    right, among = pairs(risks, TIMES, OBSERVED).sum(dim=0).tolist()
    assert right / among == pytest.approx(0.7941176470588235)  # lifelines 0.30.3


def test_nobody_who_was_censored_before_a_time_is_judged_there() -> None:
    survival = torch.tensor([[0.9, 0.6]]).expand(4, 2).double()
    scores, known = brier_scores(
        survival, torch.tensor([1.0, 1.0, 3.0, 9.0]), torch.tensor([1.0, 0, 0, 1]), torch.tensor([2.0, 4.0])
    )
    assert known.tolist() == [[True, True], [False, False], [True, False], [True, True]]
    assert scores[0].tolist() == pytest.approx([0.81, 0.36])
    assert scores[3].tolist() == pytest.approx([0.01, 0.16])


def test_deephit_is_the_likelihood_of_the_interval_of_the_event() -> None:
    """Lee et al. 2018, equation 3; edges at 2, 4 and 6, so the middles are 1, 3 and 5."""
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    edges = torch.tensor([2.0, 4.0, 6.0], dtype=torch.float64)
    times = torch.tensor([1.0, 2.0, 9.0, 0.5, 3.5, 9.0], dtype=torch.float64)
    observed = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)
    chances = torch.cat([logits, torch.zeros(6, 1)], dim=1).softmax(dim=1).numpy()
    wanted = [
        *(-math.log(chances[row, interval]) for row, interval in enumerate((0, 1, 3))),
        0.0,  # before the first middle nothing is known
        -math.log(chances[4, 2:].sum()),
        -math.log(chances[5, 3]),
    ]
    found = deephit_losses(logits, times, observed, edges)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(surviving(logits).numpy(), 1 - chances[:, :3].cumsum(axis=1), atol=1e-12)


def test_deephit_ranks_whoever_had_the_event_above_those_who_were_followed_longer() -> None:
    """Lee et al. 2018, equation 4, one pair after another."""
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    edges = torch.tensor([2.0, 4.0, 6.0], dtype=torch.float64)
    times = torch.tensor([1.0, 3.0, 3.0, 5.0, 7.0], dtype=torch.float64)
    observed = torch.tensor([1.0, 1, 0, 1, 0], dtype=torch.float64)
    died, terms = 1 - surviving(logits).numpy(), []
    for i in range(5):
        for j in range(5):
            if observed[i] and times[i] < times[j]:
                by_then = int((times[i] >= edges).sum())
                terms.append(math.exp(-(died[i, by_then] - died[j, by_then]) / 0.1))
    found = ranking_loss(logits, times, observed, edges, 0.1)
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-9)


def test_the_chance_until_the_own_time_lies_between_the_edges_around_it() -> None:
    survival, edges = torch.tensor([[0.8, 0.4]]).repeat(5, 1), torch.tensor([10.0, 20.0])
    found = survival_until(survival, torch.tensor([0.0, 5.0, 10.0, 17.5, 99.0]), edges)
    assert found.tolist() == pytest.approx([1.0, 0.9, 0.8, 0.5, 0.4])


def test_who_was_censored_is_spread_over_lower_chances() -> None:
    """Haider et al. 2020, section 3.5: of a chance of 0.25, 0.1 / 0.25 go to each whole bin below."""
    found = shares_by_chance(torch.tensor([0.25, 0.25, 1.0, 0.0]), torch.tensor([1.0, 0.0, 1.0, 0.0]), 10)
    assert found[0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert found[1, :4].tolist() == pytest.approx([0.4, 0.4, 0.2, 0.0])
    assert found[2, 9] == found[3, 0] == 1
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))


def test_a_calibrated_model_has_as_many_patients_in_each_bin() -> None:
    """Times are drawn from the predicted curves themselves, and some are censored before."""
    draw = torch.Generator().manual_seed(0)
    edges = torch.linspace(1, 40, 40, dtype=torch.float64)
    rates = 0.05 + 0.1 * torch.rand(4000, 1, generator=draw, dtype=torch.float64)
    deaths = torch.empty(4000, dtype=torch.float64).exponential_(generator=draw) / rates[:, 0]
    ends = 30 * torch.rand(4000, generator=draw, dtype=torch.float64)
    chances = survival_until((-rates * edges).exp(), torch.minimum(deaths, ends), edges)
    shares = shares_by_chance(chances, (deaths <= ends).double(), 10).mean(dim=0)
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.02)
