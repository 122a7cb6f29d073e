"""One plain update gives its image away; noise, or a mask, hides it."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from shared.errors import JobError
from simulate.session.inversion import (
    clipped_and_noised,
    gradient_of,
    invert,
    masked_and_summed,
    phantom_patient,
    plain_update,
    small_job,
)

SIDE = 32
SITES = ("a", "b", "c")


@pytest.fixture(scope="module")
def updates():
    return {
        site: plain_update(small_job(SIDE), phantom_patient(SIDE, number), site)
        for number, site in enumerate(SITES)
    }


def likeness(gradient) -> float:
    """Return the similarity of what the attacker gets to the first site's image, at the best cut-off."""
    true = phantom_patient(SIDE, 0)[None]
    found = [invert(small_job(SIDE), gradient, cutoff)[None] for cutoff in (1e-6, 1e-3, 1e-2, 0.1)]
    return max(float(structural_similarity_index_measure(one, true, data_range=1.0)) for one in found)


def test_a_plain_update_shows_its_image(updates) -> None:
    gradient = gradient_of(small_job(SIDE), updates["a"])
    assert likeness(gradient) > 0.99
    assert likeness(clipped_and_noised(gradient, 1.0, 0.0, seed=1)) > 0.99  # clipping alone protects nothing


def test_noise_hides_the_image(updates) -> None:
    gradient = gradient_of(small_job(SIDE), updates["a"])
    assert likeness(clipped_and_noised(gradient, 1.0, 1.0, seed=1)) < 0.3


def test_the_coordinator_of_a_secure_aggregation_sees_no_image(updates) -> None:
    job = small_job(SIDE)
    masked, mean = masked_and_summed(job, updates)
    assert likeness(gradient_of(job, masked["a"])) < 0.3
    expected = torch.stack([torch.from_numpy(update) for update in updates.values()]).mean(0)
    assert torch.allclose(torch.from_numpy(mean), expected, atol=1e-6)


def test_the_attack_is_on_one_network(tiny_job, updates) -> None:
    with pytest.raises(JobError, match="'unet'"):
        invert(tiny_job(), updates["a"])
