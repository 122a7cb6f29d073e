"""Registration: fields, losses, metrics, and what a job may say."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from client.training.clipping import ClippedSum, GhostSum, PerSampleSum, clip_factors
from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.metrics.spec import metric_names
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.registration.deformation import (
    Deformation,
    Moves,
    affine_field,
    after_affine,
    folded,
    points_moved,
    unmirrored,
)
from shared.tasks.registration.losses import apart, dissimilarity, structures, unevenness
from tests.jobs import make_job
from tests.shared.tasks.judging import judged

SIZE = 16


def job(**options: Any) -> JobSpec:
    return make_job(task_name="registration", **options)


def blobs(count: int, axes: int, seed: int = 0) -> Batch:
    """Return pairs of images with a bright square somewhere, with their masks and corners."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {}
    for name in ("fixed", "moving"):
        masks = torch.zeros(count, *[SIZE] * axes, dtype=torch.uint8)
        corners = rng.integers(2, 8, (count, axes))
        for mask, corner in zip(masks, corners, strict=True):
            mask[tuple(slice(low, low + 6) for low in corner)] = 1
            mask[tuple(slice(low + 3, low + 6) for low in corner)] = 2
        noise = torch.from_numpy(rng.uniform(0, 0.1, (count, 1, *[SIZE] * axes))).float()
        values |= {name: noise + 0.4 * masks[:, None], f"{name}_mask": masks}
        values[f"{name}_points"] = [torch.tensor(np.stack([own, own + 6])).float() for own in corners]
    values["moving_spacing"] = torch.full((count, axes), 2.0)
    keys = [f"{seed}-{number}" for number in range(count)]
    return Batch(values, [f"{seed}-p{number // 2}" for number in range(count)], None, keys)


def shifted(axes: int, *pixels: float) -> Tensor:
    """Return a field (1, D, *S) that is the same everywhere."""
    return torch.tensor(pixels).view(1, axes, *[1] * axes).expand(1, axes, *[SIZE] * axes).contiguous()


@pytest.mark.parametrize("axes", [2, 3])
def test_a_field_says_where_in_the_moving_image_a_pixel_of_the_fixed_one_lies(axes: int) -> None:
    batch, field = (
        blobs(1, axes),
        shifted(axes, 2.0, -1.0, 3.0)[:, :axes] if axes == 3 else shifted(2, 2.0, -1.0),
    )
    moves, moving = Moves(), batch["moving"]
    inner = tuple(slice(4, 10) for _ in range(axes))
    there = tuple(slice(4 + step, 10 + step) for step in (2, -1, 3)[:axes])
    torch.testing.assert_close(moves.image(moving, field)[0, 0][inner], moving[0, 0][there])
    assert (moves.labels(batch["moving_mask"], field)[0][inner] == batch["moving_mask"][0][there]).all()
    points = batch["fixed_points"][0]
    torch.testing.assert_close(points_moved(points, field[0]), points + field[0].flatten(1)[:, 0])
    assert float(folded(field)) == 0


def test_points_lie_between_pixels_and_follow_the_field_there() -> None:
    field = torch.zeros(2, SIZE, SIZE)
    field[0] = torch.arange(SIZE).float()[:, None]  # as far as the middle of the pixel is from the first
    points = torch.tensor([[0.5, 3.0], [4.0, 9.0], [15.5, 0.5]])
    torch.testing.assert_close(points_moved(points, field)[:, 0], 2 * points[:, 0] - 0.5)


@pytest.mark.parametrize("axes", [2, 3])
def test_where_a_field_mirrors_it_folds(axes: int) -> None:
    line = torch.arange(SIZE).float().view(1, 1, SIZE, *[1] * (axes - 1))
    mirrored = torch.zeros(1, axes, *[SIZE] * axes)
    mirrored[:, :1] = -2 * line
    assert float(folded(mirrored)) == 1
    mirrored[:, :1, SIZE // 2 :] = -SIZE
    assert 0.4 < float(folded(mirrored)) < 0.6


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_an_integrated_velocity_hardly_folds_where_a_displacement_does(axes: int, stride: int) -> None:
    generator, mode = torch.Generator().manual_seed(0), "bilinear" if axes == 2 else "trilinear"
    coarse = torch.randn(2, axes, *[5] * axes, generator=generator)
    output = 6 * torch.nn.functional.interpolate(coarse, [SIZE] * axes, mode=mode, align_corners=True)
    plain, integrated = (Deformation([SIZE] * axes, stride, integrated=own)(output) for own in (False, True))
    assert plain.shape == integrated.shape == output.shape
    assert float(folded(plain).mean()) > 0.1
    assert float(folded(integrated).mean()) < 0.5 * float(folded(plain).mean())


@pytest.mark.parametrize("size", [[16, 8], [16, 8, 12]])
def test_a_matrix_moves_pixels_in_shares_of_the_image(size: list[int]) -> None:
    axes = len(size)
    numbers = torch.zeros(1, axes, axes + 1)
    assert not affine_field(numbers.flatten(1), size).any()
    numbers[0, 0, 0] = 1.0  # a tenth larger along the first axis
    numbers[0, 1, axes] = 2.0  # and shifted by a fifth of half the second
    field = affine_field(numbers.flatten(1), size)[0]
    torch.testing.assert_close(field[0].flatten()[[0, -1]], 0.1 * torch.tensor([-7.5, 7.5]))
    torch.testing.assert_close(field[1], torch.full(size, 0.2 * (size[1] - 1) / 2))


AFFINE_FIRST = {
    "task_affine_first": True,
    "model": {
        "affine": {"name": "globalnet", "features": 4, "levels": 1},
        "field": {"name": "unet", "channels": [4, 8], "num_res_units": 0},
    },
}


def test_a_matrix_and_then_a_field_are_the_field_of_both() -> None:
    size, generator = [SIZE, SIZE], torch.Generator().manual_seed(3)
    numbers = torch.randn(1, 6, generator=generator)
    own = torch.randn(1, 2, 1, 1, generator=generator) + 0.1 * torch.rand(1, 2, *size, generator=generator)
    places = torch.tensor([[4.5, 6.5], [9.5, 7.5]])  # middles of pixels
    there = points_moved(places, own[0])
    torch.testing.assert_close(
        points_moved(places, after_affine(numbers, own)[0]),
        points_moved(there, affine_field(numbers, size)[0]),
    )


@given(st.integers(0, 2**16), st.sampled_from([2, 3]))
@settings(max_examples=20)
def test_a_matrix_that_comes_first_never_mirrors(seed: int, axes: int) -> None:
    numbers = 100 * torch.randn(4, axes * (axes + 1), generator=torch.Generator().manual_seed(seed))
    field = affine_field(unmirrored(numbers, axes), [8] * axes)
    assert not folded(field).any()
    assert (field.flatten(2).mean(2).abs() < 8 / 2).all()


def test_what_a_matrix_does_first_is_judged_and_shown_by_itself() -> None:
    spec = job(task_classes=["a", "b"], task_points=True, data_augment=None, **AFFINE_FIRST)
    task, models, batch = make_task(spec), models_of(build_model(spec)), blobs(3, 2)
    with torch.no_grad():
        models["affine"].output_block.dense[1].bias[2] = 3.0  # shifts by 0.3 of half the image
    predicted = task.predict(models, batch)
    metrics = task.metrics()
    task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    values = metrics.compute()
    assert tuple(values) == metric_names(spec)
    assert len({values[f"tre{time}"] for time in ("", "_affine", "_before")}) == 3
    look = task.looks(predicted, batch)[0]
    assert [own.title for own in look.pictures] == ["fixed", "moving", "by the matrix", "moved", "field"]
    assert "after the matrix" in look.says
    field = task.program(models).module(batch["fixed"], batch["moving"])
    torch.testing.assert_close(field, predicted["field"])


@pytest.mark.parametrize("similarity", ["mse", "lncc", "mutual-information"])
@pytest.mark.parametrize("axes", [2, 3])
def test_images_are_the_less_alike_the_further_they_are_apart(similarity: str, axes: int) -> None:
    options = job(task_similarity=similarity, data_intensity="minmax").task
    unlike = dissimilarity(options, axes)
    image = blobs(2, axes)["fixed"]
    moved = [unlike(image, image.roll(pixels, 2)) for pixels in (0, 1, 3)]
    assert all((moved[0] < further).all() for further in moved[1:])
    assert (moved[0] >= 0).all()
    several = unlike(torch.cat([image, image], 1), torch.cat([image.roll(1, 2)] * 2, 1))
    torch.testing.assert_close(several, moved[1])
    if similarity == "mutual-information":  # of another kind: what was bright is dark
        torch.testing.assert_close(unlike(image, 1 - image), moved[0], atol=0.05, rtol=0)


@pytest.mark.parametrize("axes", [2, 3])
def test_diffusion_sees_slopes_and_bending_only_curves(axes: int) -> None:
    line = torch.arange(SIZE).float().view(1, 1, SIZE, *[1] * (axes - 1))
    field = torch.zeros(1, axes, *[SIZE] * axes)
    field[:, :1] = 0.5 * line
    assert float(unevenness(field, "diffusion")) == pytest.approx(0.25 / axes)
    assert float(unevenness(field, "bending")) == pytest.approx(0, abs=1e-8)
    field[:, :1] = 0.5 * line**2
    assert float(unevenness(field, "bending")) == pytest.approx(1 / axes)


def test_overlap_is_the_dice_of_each_structure() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.uint8)
    masks[0, :2], masks[0, 2:] = 1, 2
    shares = structures(masks, 2)
    assert shares.shape == (1, 2, 4, 4)
    assert float(apart(shares, shares)) == pytest.approx(0, abs=1e-6)
    other = structures(masks.roll(1, 1), 2)
    assert float(apart(shares, other)) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("axes", [2, 3])
def test_the_states_of_sites_add_up_to_those_of_all_pairs(axes: int) -> None:
    options = {
        "task_points": True,
        "task_distances": True,
        "data_dimensions": axes,
        "data_size": [SIZE] * axes,
    }
    spec = job(task_classes=["a", "b"], data_augment=None, **options)
    batches = [blobs(4, axes, seed) for seed in range(3)]
    pooled, total = judged(spec, batches), make_task(spec).metrics()
    for batch in batches:
        part = judged(spec, [batch])
        assert (part.pack() <= part.limits(len(batch))).all()
        total.merge(part.pack())
    values = total.compute()
    assert tuple(values) == metric_names(spec)
    assert values == pytest.approx(pooled.compute(), abs=1e-6)
    assert values["dice_before"] == pytest.approx((values["dice_before/a"] + values["dice_before/b"]) / 2)
    tables = {"one": pooled.patient_tables()}
    still = make_task(spec).metrics().rivals(tables).values["constant"]
    assert still["dice"] == pytest.approx(values["dice_before"])
    assert still["tre"] == pytest.approx(values["tre_before"])


def test_distances_of_points_are_in_millimetres_of_the_moving_image_and_lost_points_do_not_count() -> None:
    batch = blobs(2, 2)
    batch["moving_points"][0][0] = torch.nan
    far = [
        (own - other).norm(dim=1) * 2
        for own, other in zip(batch["fixed_points"], batch["moving_points"], strict=True)
    ]
    values = judged(job(task_points=True, data_augment=None), [batch]).compute()
    assert values["tre_before"] == pytest.approx(float((far[0][1] + far[1].mean()) / 2))


def test_only_the_masks_that_a_job_asks_for_are_seen_in_training() -> None:
    batch, spec = blobs(2, 2), job(task_classes=["a", "b"], task_overlap=1.0)
    task, models = make_task(spec), models_of(build_model(spec))
    plain = make_task(job(task_classes=["a", "b"]))
    assert (task.losses(models, batch) > plain.losses(models, batch)).all()
    assert {"fixed_mask", "moving_mask"} <= task.targets
    bare = Batch({name: batch[name] for name in ("fixed", "moving")}, batch.patients)
    torch.testing.assert_close(plain.losses(models, bare), plain.losses(models, batch))


@pytest.mark.parametrize("transform", ["deformable", "diffeomorphic", "affine", "affine first"])
@pytest.mark.parametrize("kind", [PerSampleSum, GhostSum])
def test_each_pair_of_one_patient_is_clipped_by_its_own_gradient(
    kind: type[ClippedSum], transform: str
) -> None:
    model = (
        {"name": "cnn", "channels": [4]}
        if transform == "affine"
        else {"name": "unet", "channels": [4, 8], "num_res_units": 0}
    )
    first = AFFINE_FIRST if transform == "affine first" else {"task_transform": transform, "model": model}
    spec = job(
        task_pairs="rows",
        **first,
        data_augment=None,
        privacy={"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5},
        training_keep_optimizer=None,
    )
    task, network = make_task(spec), build_model(spec)
    models, parameters = models_of(network), [own for own in network.parameters() if own.requires_grad]
    batch = blobs(2, 2)
    batch = Batch({name: batch[name] for name in ("fixed", "moving")}, ["one", "two"], keys=["1", "2"])
    alone = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in task.losses(models, batch)
    ]
    norms = torch.stack(
        [torch.cat([own.flatten() for own in found if own is not None]).norm() for found in alone]
    )
    assert norms[0] != pytest.approx(norms[1])
    most = float(norms.mean())  # so that one of them is clipped, and the other is not
    factors = clip_factors(norms, most)
    clipped = kind(network, lambda some: task.losses(models, some), most, task.targets)
    clipped.add(batch, torch.arange(2))
    for total, *own in zip(clipped.take(), *alone, strict=True):
        expected = sum(factor * part for factor, part in zip(factors, own, strict=True) if part is not None)
        torch.testing.assert_close(total, torch.as_tensor(expected).expand_as(total), rtol=1e-4, atol=1e-6)
    clipped.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {
                "privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5},
                "training_keep_optimizer": None,
            },
            "of two patients",
        ),
        ({"task_similarity": "mutual-information", "data_intensity": "zscore"}, "within 0 and 1"),
        ({"task_overlap": 1.0}, "needs classes"),
        ({"task_window": 4}, "must be odd"),
        ({"task_stride": 4, "data_size": [18, 16]}, "does not divide"),
        ({"data_images": ["t1", "t2"], "data_channels": 2}, "names 1 columns"),
        ({"data_size": [4, 16]}, "at least 8 pixels"),
        ({"task_transform": "affine"}, "cnn"),
        ({"task_transform": "affine", "task_affine_first": True}, "a matrix alone"),
        ({"task_affine_first": True}, r"\[model.affine\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        job(**options)


@given(st.integers(0, 2**16), st.sampled_from([1, 2, 4]))
@settings(max_examples=10)
def test_a_field_of_cells_is_as_far_as_one_of_pixels(seed: int, stride: int) -> None:
    shift = torch.randn(1, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    output = shift.expand(1, 2, SIZE, SIZE)
    torch.testing.assert_close(Deformation([SIZE] * 2, stride, integrated=False)(output), output.contiguous())
