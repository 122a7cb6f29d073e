"""Masks of several raters: what they agree on, what training minimises, how each is agreed with."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.batch import Batch
from shared.errors import JobError
from shared.tasks import make_task
from shared.tasks.segmentation.raters import agreed, staple
from tests.jobs import make_job

RATERS = ["mask", "mask_2", "mask_3"]


def masks(seed: int, raters: int = 3, side: int = 12, classes: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, (side, side))
    wrong = rng.random((raters, side, side)) < np.array([0.05, 0.2, 0.35])[:raters, None, None]
    return np.where(wrong, rng.integers(0, classes, wrong.shape), true).astype(np.uint8)


def em(decisions: np.ndarray, prior: float) -> np.ndarray:
    """Warfield et al. 2004, equations 14, 15, 19 and 20, of binary decisions (R, N)."""
    p = q = np.full(len(decisions), 0.99999)
    for _ in range(200):
        yes = prior * np.prod(np.where(decisions, p[:, None], 1 - p[:, None]), axis=0)
        no = (1 - prior) * np.prod(np.where(decisions, 1 - q[:, None], q[:, None]), axis=0)
        weights = yes / (yes + no)
        p = (decisions * weights).sum(1) / weights.sum()
        q = ((1 - decisions) * (1 - weights)).sum(1) / (1 - weights).sum()
    return weights


def test_staple_is_the_papers() -> None:
    found = masks(3)
    expected = em(found.reshape(3, -1) > 0, (found > 0).mean()).reshape(12, 12) > 0.5
    assert np.array_equal(staple(found, 2) > 0, expected)


def test_of_several_structures_each_is_estimated_by_itself() -> None:
    found = masks(4, classes=3)
    whole = staple(found, 3)
    for index in (1, 2):
        own = staple((found == index).astype(np.uint8), 2)
        assert np.array_equal(whole == index, (own == 1) & (whole == index))
    assert set(np.unique(whole)) == {0, 1, 2}
    assert not staple(np.zeros((3, 4, 4), np.uint8), 3).any()


def test_a_majority_decides_and_of_a_tie_the_first() -> None:
    first, second, third = (
        torch.tensor([[row]], dtype=torch.uint8) for row in ([0, 1, 2], [0, 2, 1], [1, 2, 0])
    )
    assert agreed([first, second, third], "majority", 3).tolist() == [[[0, 2, 2]]]
    assert agreed([first, second], "majority", 3).tolist() == [[[0, 1, 2]]]
    unseen = torch.full_like(third, 255)
    assert agreed([first, unseen, third], "majority", 3).tolist() == [[[0, 1, 2]]]
    assert agreed([unseen, unseen, third], "staple", 3).tolist() == [[[1, 2, 0]]]


def batch_of(task: Any) -> Batch:
    generator = torch.Generator().manual_seed(0)
    values: dict[str, Tensor] = {"image": torch.randn(2, 1, 16, 16, generator=generator)}
    for number, name in enumerate(task.job.task.raters):
        values[name] = torch.from_numpy(np.stack([masks(number, 1, 16)[0], masks(number + 9, 1, 16)[0]]))
    values["rater mask_3"][1] = 255  # who has not seen the second image
    return task.prepare(Batch(values, ["ann", "ben"], keys=["a", "b"]), 0)


def test_the_mean_of_cross_entropies_is_that_by_the_share_of_raters() -> None:
    task = make_task(make_job(task_masks=RATERS, task_loss="cross-entropy"))
    batch = batch_of(task)
    logits = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(5))
    (phase,) = task.phases()
    found = phase.loss({"model": lambda _: logits}, batch)
    shares = torch.stack([batch[name][0] for name in task.job.task.raters]).float().mean(0)
    of_both = torch.stack([batch[name][1] for name in task.job.task.raters[:2]]).float().mean(0)
    for number, share in enumerate((shares, of_both)):
        chance = logits[number].log_softmax(0)
        expected = -(share * chance[1] + (1 - share) * chance[0]).mean()
        torch.testing.assert_close(found[number], expected)


@pytest.mark.parametrize("consensus", ["mean", "majority", "staple"])
def test_each_rater_is_compared_with_and_states_add_up(consensus: str) -> None:
    task = make_task(make_job(task_masks=RATERS, task_consensus=consensus))
    batch = batch_of(task)
    logits = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(5))
    whole, sites = task.metrics(), [task.metrics() for _ in range(2)]
    task.update(whole, {"logits": logits}, batch, torch.zeros(2))
    for number, metrics in enumerate(sites):
        part = batch.chosen([number])
        task.update(metrics, {"logits": logits[number : number + 1]}, part, torch.zeros(1))
    merged = task.metrics()
    for site in sites:
        merged.merge(site.pack())
    values = whole.compute()
    assert merged.compute() == pytest.approx(values, abs=1e-6)
    raw = batch_of(make_task(make_job(task_masks=RATERS)))
    found = logits.argmax(1)
    for column, name in zip(RATERS, task.job.task.raters, strict=True):
        seen = 1 if column == "mask_3" else 2
        own, said = raw[name][:seen] == 1, found[:seen] == 1
        dice = 2 * (own & said).sum() / (own.sum() + said.sum())
        assert values[f"dice_rater/{column}"] == pytest.approx(float(dice))
    one, two = raw["mask"] == 1, raw["rater mask_2"] == 1
    pairs = [2 * (one & two).sum() / (one.sum() + two.sum())]
    third = raw["rater mask_3"][:1] == 1
    pairs += [2 * (own[:1] & third).sum() / (own[:1].sum() + third.sum()) for own in (one, two)]
    assert values["dice_between_raters"] == pytest.approx(float(torch.stack(pairs).mean()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_masks": ["mask"]}, "name two columns or more"),
        ({"task_consensus": "staple"}, "name them in masks"),
        ({"task_masks": RATERS, "task_loss": "batch-dice-ce"}, "of which raters have seen some"),
        ({"task_masks": RATERS, "task_unlabelled": {"method": "fixmatch"}}, "leave-out"),
        ({"task_masks": RATERS, "task_region": "mask_2"}, "'mask_2' is what is to be found"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as refused:
        make_job(**options)
    assert said in str(refused.value)
