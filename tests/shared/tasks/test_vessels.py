"""Segmentation within a region, and its figures of single voxels."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor, nn

from client.guard.bounded_sums import bound
from client.guard.metric_release import withhold
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.metrics.states import MetricSet
from shared.tasks import make_task
from tests.jobs import make_job
from tests.silent import silent


def job(**options: Any) -> JobSpec:
    return make_job(**{"task_region": "view", "task_voxel_metrics": True, "data_size": [12, 12]} | options)


def drawn(count: int, classes: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits that are right more often than not, masks and regions."""
    draw = torch.Generator().manual_seed(count)
    masks = torch.randint(0, classes + 1, (count, 12, 12), generator=draw)
    truth = nn.functional.one_hot(masks, classes + 1).movedim(-1, 1)
    logits = 1.5 * torch.randn(truth.shape, generator=draw) + truth
    return logits, masks.byte(), (torch.rand(count, 12, 12, generator=draw) < 0.6).byte()


class Given(nn.Module):
    """A network that gives logits whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def judged(spec: JobSpec, logits: Tensor, masks: Tensor, regions: Tensor | None, start: int = 0) -> MetricSet:
    task, metrics = make_task(spec), make_task(spec).metrics()
    values = {"image": torch.zeros(len(masks), 1, 12, 12), "mask": masks}
    values |= {} if regions is None else {"region": regions}
    batch = task.prepare(Batch(values, [f"p{start + number}" for number in range(len(masks))]), 0)
    models = {"model": Given(logits)}
    predicted = task.predict(models, batch)
    task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    return metrics


@pytest.mark.parametrize("classes", [1, 2])
def test_figures_of_voxels_are_those_within_the_region(classes: int) -> None:
    spec = job(task_classes=["a", "b"][:classes])
    logits, masks, regions = drawn(40, classes)
    found = judged(spec, logits, masks, regions).compute()
    assert tuple(found) == metric_names(spec)
    inside = regions > 0
    shares, true, said = logits.softmax(1).movedim(1, -1)[inside], masks[inside], logits.argmax(1)[inside]
    single = []
    for kind in range(1, classes + 1):
        own, other = true == kind, said == kind
        single.append(
            {
                "accuracy": float((own == other).float().mean()),
                "sensitivity": reference.recall_score(own, other),
                "specificity": reference.recall_score(~own, ~other),
                "auroc": reference.roc_auc_score(own, shares[:, kind]),
            }
        )
    for name in single[0]:
        assert found[name] == pytest.approx(np.mean([one[name] for one in single]), abs=1e-3), name
    overlap = reference.f1_score(true == 1, said == 1)
    assert found["dice_global/a" if classes > 1 else "dice_global"] == pytest.approx(overlap)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 29), max_size=3, unique=True))
def test_states_of_sites_add_up_to_pooled(cuts: list[int]) -> None:
    spec = job()
    logits, masks, regions = drawn(30)
    pooled = judged(spec, logits, masks, regions).compute()
    total = make_task(spec).metrics()
    for start, end in pairwise([0, *sorted(cuts), 30]):
        total.merge(judged(spec, *(part[start:end] for part in (logits, masks, regions)), start).pack())
    assert total.compute() == pytest.approx(pooled, abs=1e-6)


def test_nothing_is_learnt_outside_of_the_region() -> None:
    spec = job(task_loss="cldice-ce", model_norm="instance")
    logits, masks, regions = drawn(2)
    task, model = make_task(spec), Given(logits)
    batch = Batch({"image": torch.zeros(2, 1, 12, 12), "mask": masks, "region": regions}, ["a", "b"])
    [phase] = task.phases()
    phase.loss({"model": model}, task.prepare(batch, 0)).sum().backward()
    gradient = model.logits.grad
    assert gradient is not None
    outside = (regions == 0)[:, None].expand_as(gradient)
    assert not gradient[outside].any()
    assert gradient[~outside].any()
    flipped = torch.where(regions > 0, masks, 1 - masks)  # what is drawn there says nothing
    other = task.prepare(batch.plus(mask=flipped), 0)
    assert torch.equal(other["mask"], task.prepare(batch, 0)["mask"])


def test_without_a_region_all_counts() -> None:
    """As where a model is used on images of which nobody has said it."""
    logits, masks, _ = drawn(6)
    everywhere = judged(job(), logits, masks, torch.ones_like(masks)).compute()
    assert judged(job(task_region=None), logits, masks, None).compute() == pytest.approx(everywhere)


def test_what_leaves_of_voxels_is_bounded() -> None:
    metrics = judged(job(), *drawn(12))
    before = metrics.compute()
    assert (metrics.pack() <= metrics.limits(12)).all()
    bound(metrics, silent(5), 10)
    withhold(metrics, silent(5), 10)
    after = metrics.compute()
    assert after["auroc"] == pytest.approx(before["auroc"], abs=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_class_weights": "site"}, "counts voxels outside of the region too"),
        ({"task_region": "mask"}, "'mask' is what is to be found"),
    ],
)
def test_what_does_not_go_with_a_region_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as refused:
        job(**{"task_loss": "cross-entropy"} | options)
    assert said in str(refused.value)
