"""Moments of features are led to those of all sites."""

import numpy as np
import pytest
import torch

from shared.networks.features import projected
from shared.strategies.coral import MOMENTS, Coral, MomentAlignment
from shared.strategies.vectors import MODEL, Trained

OPTIONS = Coral(name="coral", mu=2.0, features=3)


def moments_of(features: torch.Tensor) -> np.ndarray:
    found = projected(features, 3, 0)
    products = (found.T @ found / len(found))[*torch.triu_indices(3, 3)]
    return torch.cat([found.mean(dim=0), products]).numpy()


def drawn(seed: int, shift: float) -> torch.Tensor:
    return torch.randn(64, 5, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_slope_is_that_of_the_distance_between_moments():
    features = drawn(1, 1.0).requires_grad_()
    goal = moments_of(drawn(2, 0.0))
    losses = MomentAlignment(goal, None, OPTIONS).losses(features)
    found = projected(features, 3, 0)
    aim = torch.from_numpy(goal)
    second = torch.zeros(3, 3)
    row, column = torch.triu_indices(3, 3)
    second[row, column] = second[column, row] = aim[3:]
    spread = second - torch.outer(aim[:3], aim[:3])
    apart = (found.mean(dim=0) - aim[:3]).square().sum() / spread.trace()
    apart = apart + (found.T.cov(correction=0) - spread).square().sum() / spread.trace() ** 2
    assert losses.shape == (64,)
    assert losses.mean().item() == pytest.approx(2.0 * apart.item(), rel=1e-4)
    expected, slope = (torch.autograd.grad(own, features)[0] for own in (2.0 * apart, losses.mean()))
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-6)


def test_sites_meet_where_the_moments_of_all_are():
    sent, kept, shifts = {MODEL: np.zeros(1, np.float32)}, [{}, {}], [0.0, 0.0]
    sent[MOMENTS] = np.zeros(OPTIONS.moments, np.float32)
    apart = []
    for _ in range(3):
        answers = []
        for site, own in enumerate((-1.0, 1.0)):
            images = drawn(site, own)

            def train(model, *, alignment, images=images, site=site):
                moved = torch.full((5,), shifts[site], requires_grad=True)
                for _ in range(20):
                    loss = alignment.losses(images + moved).mean() + 0 * moved.sum()
                    (slope,) = torch.autograd.grad(loss, moved)
                    moved = (moved - 0.05 * slope).detach().requires_grad_()
                shifts[site] = moved.detach().mean().item()
                return Trained(model, 1.0, 20)

            answer, kept[site] = OPTIONS.site(None, frozenset()).round(train, sent, kept[site])
            np.testing.assert_array_equal(kept[site][MOMENTS], answer[MOMENTS])
            answers.append(answer[MOMENTS])
        sent = {MODEL: sent[MODEL], MOMENTS: np.mean(answers, axis=0)}
        apart.append(float(np.abs(answers[0] - answers[1]).sum()))
    np.testing.assert_allclose(np.abs(answers), np.clip(np.abs(answers), 0, 1))
    assert apart[2] < apart[1] < apart[0]  # nothing was known in the first round
    assert shifts[0] > 0 > shifts[1]


def test_nobody_is_led_before_anything_is_known_and_what_is_sent_is_of_all_images():
    features, nothing = drawn(3, 0.5), np.zeros(OPTIONS.moments, np.float32)
    alignment = MomentAlignment(nothing, None, OPTIONS)
    for part in features.split(20):
        assert not alignment.losses(part).any()
    np.testing.assert_allclose(alignment.moments(), moments_of(features), atol=1e-6)
