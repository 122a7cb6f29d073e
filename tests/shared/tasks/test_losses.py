"""Losses by name: one value per image, with weights for class imbalance."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from monai.losses import BoundaryLoss, DiceCELoss
from monai.losses.cldice import soft_skel
from torch import Tensor
from torch.nn import functional

from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.tasks import TASKS
from shared.tasks.losses import class_weights, evaluation_loss, training_loss
from shared.tasks.options import ClassesOptions
from tests.jobs import make_job


def job(loss: str, task: str, **options: Any) -> JobSpec:
    classes = ["a", "b", "c"]
    return make_job(task_name=task, task_loss=loss, task_classes=classes, data_size=[8, 8], **options)


def batch(spec: JobSpec) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    classes = len(spec.task.classes)
    if spec.task.name == "segmentation":
        logits = torch.randn(4, classes + 1, 8, 8, generator=draw)
        return logits, torch.randint(0, classes + 1, (4, 8, 8), generator=draw).byte()
    logits = torch.randn(4, classes, generator=draw)
    if spec.task.multi_label:
        return logits, torch.randint(0, 2, (4, classes), generator=draw).float()
    return logits, torch.randint(0, classes, (4,), generator=draw)


EVERY = [
    (name, task, False)
    for task, options in TASKS.items()
    if issubclass(options, ClassesOptions)
    for name in get_args(options.model_fields["loss"].annotation)
]
EVERY += [(name, "classification", True) for name in ("cross-entropy", "focal")]


@pytest.mark.parametrize(("name", "task", "multi_label"), EVERY)
def test_every_loss_can_be_descended_and_but_for_one_judges_each_image_alone(
    name: str, task: str, multi_label: bool
) -> None:
    spec = job(name, task, **({"task_multi_label": True} if multi_label else {}))
    logits, targets = batch(spec)
    counts = np.arange(3 + (task == "segmentation"))  # the first class is absent
    loss = training_loss(spec, counts)
    logits.requires_grad_()
    values = loss(logits, targets)
    assert values.shape == (4,)
    if name != "batch-dice-ce":
        alone = torch.cat([loss(logits[i : i + 1], targets[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(values, alone)
    values.mean().backward()
    assert logits.grad is not None
    lower = loss(logits - logits.grad, targets).mean()
    assert torch.isfinite(values).all()
    assert lower < values.mean()


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_class_weights_favour_the_rare_class(name: str, multi_label: bool) -> None:
    spec = job(name, "classification", task_multi_label=multi_label, task_class_weights="site")
    logits = torch.zeros(2, 3)
    targets = torch.tensor([0, 2])
    if multi_label:
        targets = functional.one_hot(targets, 3).float()
    weighted = training_loss(spec, np.array([90, 0, 10]))(logits, targets)
    plain = evaluation_loss(spec)(logits, targets)
    if multi_label:  # all labels of an image are weighted, so both images cost the same
        assert weighted[0] == weighted[1] > plain[0]
    else:
        torch.testing.assert_close(weighted / plain, torch.tensor([100 / 180, 5.0]))


def test_weights_have_mean_one_over_the_examples() -> None:
    counts = np.array([70, 0, 5, 25])
    weights = class_weights(counts).numpy()
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert weights[1] == 1
    assert weights[2] / weights[3] == pytest.approx(5)


def test_balanced_softmax_leaves_the_prior_to_the_loss() -> None:
    """A model that prefers no class already has the loss of one that knows the site's class shares."""
    spec = job("balanced-softmax", "classification")
    counts = np.array([80, 20, 0])
    loss = training_loss(spec, counts)
    value = loss(torch.zeros(1, 3), torch.tensor([1]))
    assert float(value) == pytest.approx(-np.log(20 / 101), abs=1e-6)
    logits = torch.zeros(1, 3, requires_grad=True)
    loss(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert 0 < float(logits.grad[0, 2]) < 0.02  # an absent class is hardly pushed down


def test_balanced_softmax_is_evaluated_without_the_prior() -> None:
    spec = job("balanced-softmax", "classification")
    logits, targets = batch(spec)
    torch.testing.assert_close(
        evaluation_loss(spec)(logits, targets), functional.cross_entropy(logits, targets, reduction="none")
    )


def test_dice_ce_is_monais() -> None:
    spec = job("dice-ce", "segmentation")
    logits, targets = batch(spec)
    expected = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)(logits, targets[:, None])
    torch.testing.assert_close(evaluation_loss(spec)(logits, targets).mean(), expected)


def test_batch_dice_ce_is_monais_and_reported_image_by_image() -> None:
    spec = job("batch-dice-ce", "segmentation")
    logits, targets = batch(spec)
    targets[0] = 0
    logits.requires_grad_()
    loss = training_loss(spec, None)(logits, targets).mean()
    monai = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    torch.testing.assert_close(loss, monai(logits, targets[:, None]))
    # What a report says of an image must not depend on its neighbours.
    alone = evaluation_loss(spec)(logits[:1], targets[:1])
    torch.testing.assert_close(evaluation_loss(spec)(logits, targets)[:1], alone)


@pytest.mark.parametrize("counts", [None, np.array([1, 2])])
def test_missing_counts_are_named(counts: Any) -> None:
    with pytest.raises(ValueError, match="counts"):
        training_loss(job("balanced-softmax", "classification"), counts)


@pytest.mark.parametrize(("loss", "task"), [("balanced-softmax", "classification"), ("dice", "segmentation")])
def test_a_loss_that_can_not_be_weighted_refuses_weights(loss: str, task: str) -> None:
    with pytest.raises(JobError, match="class_weights"):
        job(loss, task, task_class_weights="site")


@pytest.mark.parametrize("axes", [2, 3])
def test_the_loss_of_tubes_is_that_of_the_paper(axes: int) -> None:
    """Equations 1 to 3 of Shit et al. by hand: half of the mask is found, and half of its middle line."""
    shape = (9,) * axes
    true = torch.zeros(1, *shape, dtype=torch.uint8)
    lane = (slice(3, 6),) * (axes - 1)
    true[(0, *lane)] = 1  # 3 pixels wide, its middle line is 1 wide
    found = true.clone()
    found[..., 4:] = 0
    logits = torch.stack([30 * (1 - found.float()), 30 * found.float()], dim=1)
    spec = make_job(
        task_classes=["a"],
        task_loss="cldice-ce",
        task_tube_radius=3,
        data_dimensions=axes,
        data_size=list(shape),
    )
    plain = evaluation_loss(
        spec.model_copy(update={"task": spec.task.model_copy(update={"loss": "dice-ce"})})
    )
    lines = [soft_skel(own[:, None].float(), 3)[:, 0] for own in (found, true)]
    precision = ((lines[0] * true).sum() + 1) / (lines[0].sum() + 1)
    sensitivity = ((lines[1] * found).sum() + 1) / (lines[1].sum() + 1)
    assert precision == 1
    assert float(sensitivity) == pytest.approx(0.5, abs=0.1)
    centre = 2 * precision * sensitivity / (precision + sensitivity)
    overlap = 2 * found.sum() / (found.sum() + true.sum())
    entropy = functional.cross_entropy(logits, true.long())
    value = evaluation_loss(spec)(logits, true)
    assert float(value) == pytest.approx(float(entropy + (2 - overlap - centre) / 2), abs=1e-3)
    assert float(plain(logits, true)) == pytest.approx(float(entropy + 1 - overlap), abs=1e-3)


def two_voxels_of_four() -> tuple[Tensor, Tensor]:
    """Return logits and targets of 2 x 2 pixels: the structure is the upper row, found with 0.8 and 0.4."""
    foreground = torch.tensor([[[0.8, 0.4], [0.2, 0.1]]], dtype=torch.float64)
    return torch.stack([1 - foreground, foreground], dim=1).log(), torch.tensor([[[1, 1], [0, 0]]])


def loss_of(name: str, logits: Tensor, targets: Tensor, **options: Any) -> float:
    spec = make_job(task_loss=name, task_classes=["a"], **options)
    return float(training_loss(spec, None)(logits, targets)[0])


def test_tversky_is_its_paper_s_index() -> None:
    """Equation 2 of Salehi et al. 2017: found 1.2, added 0.3, missed 0.8."""
    pair = two_voxels_of_four()
    index = 1.2 / (1.2 + 0.3 * 0.3 + 0.7 * 0.8)
    assert loss_of("tversky", *pair) == pytest.approx(1 - index, abs=1e-5)
    assert loss_of("focal-tversky", *pair) == pytest.approx((1 - index) ** 0.75, abs=1e-5)
    even = loss_of("tversky", *pair, task_tversky_beta=0.5)
    assert even == pytest.approx(loss_of("dice", *pair), abs=1e-5)


def test_a_structure_found_whole_leaves_the_focal_loss_a_slope() -> None:
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]]).T[None, :, :, None].requires_grad_()
    spec = make_job(task_loss="focal-tversky", task_classes=["a"])
    training_loss(spec, None)(logits, torch.tensor([[[1], [0]]])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_generalised_dice_weighs_classes_by_their_squared_volume() -> None:
    """Sudre et al. 2017: one pixel of the structure counts as much as three of the background."""
    foreground = torch.tensor([[[0.8, 0.4], [0.2, 0.1]]], dtype=torch.float64)
    logits, targets = torch.stack([1 - foreground, foreground], dim=1).log(), torch.tensor([[[1, 0], [0, 0]]])
    weights = {"a": 1.0, "background": 1 / 9}
    both = {"a": 0.8, "background": 0.6 + 0.8 + 0.9}
    sums = {"a": 1.5 + 1, "background": 2.5 + 3}
    found = 2 * sum(weights[own] * both[own] for own in both) / sum(weights[own] * sums[own] for own in both)
    assert loss_of("generalised-dice", logits, targets) == pytest.approx(1 - found, abs=1e-5)


def test_the_boundary_loss_adds_the_signed_distance() -> None:
    """Kervadec et al. 2019: the border's pixels have 0 inside and 1 outside; further out 2, further in -1."""
    foreground = torch.tensor([[[0.9], [0.8], [0.3], [0.2]]], dtype=torch.float64)
    logits, targets = (
        torch.stack([1 - foreground, foreground], dim=1).log(),
        torch.tensor([[[1], [1], [0], [0]]]),
    )
    distance = (-1 * (0.9 - 1) + 0 * (0.8 - 1) + 1 * 0.3 + 2 * 0.2) / 4
    monai = BoundaryLoss(include_background=False, to_onehot_y=True, softmax=True)
    assert distance == pytest.approx(float(monai(logits, targets[:, None])) + 1 / 4)  # but for a constant
    region = loss_of("generalised-dice", logits, targets)
    found = loss_of("boundary", logits, targets, task_boundary_weight=0.5)
    assert found == pytest.approx(region + 0.5 * distance, abs=1e-6)


def test_a_smoothed_label_is_spread_over_all_classes_in_training_alone() -> None:
    spec = job("cross-entropy", "classification", task_label_smoothing=0.3)
    logits, targets = batch(spec)
    spread = 0.7 * functional.one_hot(targets, 3) + 0.1
    expected = -(spread * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(training_loss(spec, None)(logits, targets), expected)
    plain = functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(evaluation_loss(spec)(logits, targets), plain)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("dice", {"task_label_smoothing": 0.1}, "label_smoothing: 'dice' has no cross-entropy"),
        ("tversky", {"task_class_weights": "site"}, "class_weights: must be 'none', as 'tversky' weighs"),
        ("dice", {"task_tversky_beta": 0.5}, "tversky_beta: is for loss = 'tversky' or 'focal-tversky'"),
        ("tversky", {"task_boundary_weight": 0.5}, "boundary_weight: is for loss = 'boundary'"),
    ],
)
def test_keys_of_another_loss_are_refused(loss: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as refused:
        job(loss, "segmentation", **options)
    assert message in str(refused.value)


def test_labels_of_several_are_not_smoothed() -> None:
    with pytest.raises(JobError, match="label_smoothing: is for one label per image"):
        job("cross-entropy", "classification", task_multi_label=True, task_label_smoothing=0.1)
