"""Restoration: how images are spoilt, what is learnt from them, and how the answers are judged."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.metrics.states import MetricSet
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.images.closeness import psnr, ssim
from shared.tasks.images.rays import filtered_back, projected
from shared.tasks.restoration.blind_spots import hidden
from shared.tasks.restoration.options import Restoration
from tests.jobs import make_job
from tests.shared.tasks.judging import judged_at_sites, smooth_images

KINDS: dict[str, dict[str, Any]] = {
    "gaussian": {"level": 0.1},
    "rician": {"level": 0.1},
    "poisson": {"photons": 50.0},
    "low-dose": {"photons": 1000.0},
    "downsample": {"factor": [2.0]},
    "motion": {"moves": 3},
    "bias": {"level": 0.3},
}


def job(**options: Any) -> JobSpec:
    return make_job(task_name="restoration", **options)


def spoiling(*kinds: str, **options: Any) -> JobSpec:
    return job(task_degradations=[{"kind": kind, **KINDS[kind]} for kind in kinds], **options)


def images(count: int, size: tuple[int, ...] = (16, 16), channels: int = 1) -> Tensor:
    return smooth_images(count, size, channels)


def batch_of(pictures: Tensor, start: int = 0, width: float = 255.0, **values: Any) -> Batch:
    count = len(pictures)
    scale = torch.tensor([10.0, width]).repeat(count, pictures.shape[1], 1)
    names = [f"p{(start + number) // 2}" for number in range(count)]
    keys = [str(start + number) for number in range(count)]
    return Batch({"image": pictures, "scale": scale, **values}, names, keys=keys)


def spoilt(spec: JobSpec, pictures: Tensor, seed: int = 1) -> Tensor:
    found: Tensor = make_task(spec).prepare(batch_of(pictures), seed)["degraded"]
    return found


class Nothing(nn.Module):
    """A network that adds nothing to the image."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.zeros_like(image)


@pytest.mark.parametrize(
    ("kind", "size"),
    [*((kind, (16, 20)) for kind in KINDS), *((kind, (8, 12, 10)) for kind in KINDS if kind != "low-dose")],
)
def test_an_image_is_spoilt_by_its_own_seed(kind: str, size: tuple[int, ...]) -> None:
    spec, pictures = spoiling(kind, data_dimensions=len(size), data_size=list(size)), images(3, size)
    task, batch = make_task(spec), batch_of(pictures)
    first = task.prepare(batch, 1)["degraded"]
    assert first.shape == pictures.shape
    assert bool(first.isfinite().all())
    assert not torch.equal(first, pictures)
    assert torch.equal(task.prepare(batch.chosen([2, 0]), 1)["degraded"], first[[2, 0]])
    assert torch.equal(task.prepare(batch, 2)["degraded"], first) == (kind == "downsample")
    assert torch.equal(task.prepare_given(batch, 1)["degraded"], pictures)


def test_noise_is_as_strong_as_the_job_says() -> None:
    flat = torch.full((1, 1, 200, 200), 0.5)
    noise = spoilt(spoiling("gaussian"), flat) - flat
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    counted = spoilt(spoiling("poisson"), flat)
    assert float(counted.mean()) == pytest.approx(0.5, rel=0.01)
    assert float(counted.var()) == pytest.approx(0.5 / 50, rel=0.05)  # of a count over its photons
    empty = spoilt(spoiling("rician"), torch.zeros_like(flat))
    assert float(empty.mean()) == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.02)  # Rayleigh
    fields = torch.cat([spoilt(spoiling("bias"), torch.ones(8, 1, 16, 16), seed).log() for seed in range(60)])
    assert float(fields.std()) == pytest.approx(0.3, rel=0.1)


def test_larger_pixels_are_means() -> None:
    means = spoilt(spoiling("downsample"), images(1))[0, 0]
    assert float(means[3:-3, 3:-3].mean()) == pytest.approx(
        float(images(1)[0, 0, 3:-3, 3:-3].mean()), abs=0.01
    )
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    assert torch.allclose(spoilt(spoiling("downsample"), checks[None, None].float()), torch.tensor(0.5))


def test_who_lies_still_is_not_spoilt() -> None:
    still = job(task_degradations=[{"kind": "motion", "shift": 0.0, "turn": 0.0}])
    torch.testing.assert_close(spoilt(still, images(2)), images(2), atol=1e-5, rtol=0)
    moved = spoilt(spoiling("motion"), images(2))
    assert (moved.mean() - images(2).mean()).abs() < 0.02  # the middle of k-space is of the first pose


def test_rays_add_up_what_they_cross_and_bring_it_back() -> None:
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(64) - 31.5, indexing="ij")
    disc = (((x - 6) ** 2 + (y + 4) ** 2) < 12**2).float()[None]
    rays = projected(disc, 90)
    assert rays.shape == (1, 90, 80)
    assert rays.sum(2).numpy() == pytest.approx(float(disc.sum()), rel=0.01)
    assert float(rays.max()) == pytest.approx(24, rel=0.05)
    back = filtered_back(rays, (48, 64))
    assert float((back - disc).abs().mean()) < 0.05
    assert float(back[0, 15:25, 32:43].mean()) == pytest.approx(1, abs=0.03)


def test_less_dose_is_more_noise_where_rays_pass_more() -> None:
    """Four times the photons are half the noise; outside of the patient there is less of it."""
    body = torch.zeros(1, 1, 48, 48)
    body[..., 12:36, 12:36] = 0.8
    noise = [
        spoilt(job(task_degradations=[{"kind": "low-dose", "photons": photons}]), body) - body
        for photons in (1e4, 4e4)
    ]
    ratio = float(noise[0].std() / noise[1].std())
    assert ratio == pytest.approx(2, rel=0.15)
    assert float(noise[0][..., 18:30, 18:30].std()) > 1.2 * float(noise[0][..., :6, :].std())
    assert abs(float(noise[1].mean())) < 0.01


def test_degradations_follow_one_another() -> None:
    both = spoilt(spoiling("downsample", "gaussian"), images(2))
    coarse = spoilt(spoiling("downsample"), images(2))
    assert float((both - coarse).std()) == pytest.approx(0.1, rel=0.15)


def judged(spec: JobSpec, pictures: Tensor, parts: int = 1) -> list[MetricSet]:
    return judged_at_sites(spec, pictures, batch_of, parts)


def test_sums_of_sites_are_those_of_all_images() -> None:
    spec = spoiling("rician")
    [whole] = judged(spec, images(11))
    merged = make_task(spec).metrics()
    for part in judged(spec, images(11), parts=3):
        merged.merge(part.pack())
    assert merged.compute() == pytest.approx(whole.compute(), abs=1e-6)


def test_figures_are_those_of_the_textbook() -> None:
    spec, pictures = spoiling("rician"), images(6)
    task = make_task(spec)
    batch = task.prepare(batch_of(pictures, width=200.0), 1)
    metrics, predicted = task.metrics(), task.predict({"model": Nothing()}, batch)
    task.update(metrics, predicted, batch, task.sample_losses({}, batch, predicted))
    degraded, true = np.clip(batch["degraded"].numpy(), 0, 1).astype(float), pictures.numpy().astype(float)
    decibels = [10 * math.log10(1 / ((a - b) ** 2).mean()) for a, b in zip(degraded, true, strict=True)]
    similar = SSIMMetric(2, data_range=1.0)(torch.from_numpy(degraded).float(), pictures).mean()
    values = metrics.compute()
    assert values["psnr"] == pytest.approx(np.mean(decibels), abs=1e-6)
    assert values["ssim"] == pytest.approx(float(similar), abs=1e-6)
    assert values["mae"] == pytest.approx(200 * np.abs(degraded - true).mean(), rel=1e-6)
    assert values["psnr_gain"] == 0
    for name in ("psnr", "ssim", "mae"):
        assert values[f"{name}_degraded"] == values[name]


def test_the_same_image_is_as_close_as_can_be() -> None:
    assert psnr(images(2), images(2)).tolist() == [100, 100]
    torch.testing.assert_close(ssim(images(2, (7, 9)), images(2, (7, 9))), torch.ones(2))


def test_only_chosen_channels_are_restored() -> None:
    spec = spoiling("gaussian", data_channels=3, task_channels=[2])
    task, models = make_task(spec), models_of(build_model(spec))
    pictures = images(2, channels=3)
    batch = task.prepare(batch_of(pictures), 1)
    assert task.predict(models, batch)["image"].shape == (2, 1, 16, 16)
    batch["scale"][:, 1, 1] = 20.0  # the others' are 255
    metrics, predicted = task.metrics(), task.predict(models, batch)
    task.update(metrics, predicted, batch, task.sample_losses(models, batch, predicted))
    error = float((predicted["image"] - pictures[:, 1:2]).abs().mean())
    assert metrics.compute()["mae"] == pytest.approx(20 * error, rel=1e-5)
    program = task.program(models)
    assert program is not None
    torch.testing.assert_close(
        program.module.eval()(pictures), task.predict(models, task.prepare_given(batch, 1))["image"]
    )
    others = pictures.clone()
    others[:, [0, 2]] = 0
    again = task.prepare(batch_of(others), 1)
    torch.testing.assert_close(task.predict(models, again)["image"], task.predict(models, batch)["image"])
    torch.testing.assert_close(
        task.sample_losses(models, again, task.predict(models, again)),
        task.sample_losses(models, batch, task.predict(models, batch)),
    )


def losses_of(task: Task, pictures: Tensor, model: nn.Module | None = None, **values: Any) -> Tensor:
    batch = task.prepare(batch_of(pictures, **values), 1)
    return task.phases()[0].loss({"model": model or Nothing()}, batch)


def test_noise_to_noise_compares_two_draws() -> None:
    """The squared distance of two noisy copies has twice the variance of the noise."""
    task = make_task(spoiling("gaussian", task_learns_from="noise2noise", task_loss="l2"))
    assert float(losses_of(task, images(8)).mean()) == pytest.approx(2 * 0.1**2, rel=0.1)
    paired = make_task(job(task_degradations=None, task_reference="again", task_learns_from="noise2noise"))
    losses = losses_of(paired, images(8), reference=images(8) + 0.25)
    torch.testing.assert_close(losses, torch.full((8,), 0.25))
    assert paired.job.task.metrics() == ()


def test_hidden_pixels_are_neighbours_and_never_themselves() -> None:
    places = torch.arange(40.0 * 40).view(1, 40, 40)
    masked, spots = hidden(places, 0.1, torch.Generator().manual_seed(3))
    changed = masked != places
    assert torch.equal(changed, spots)
    assert float(spots.float().mean()) == pytest.approx(0.1, abs=0.03)
    old, new = (divmod(part[changed].numpy().astype(int), 40) for part in (places, masked))
    for own, other in zip(old, new, strict=True):
        assert set(np.unique((own - other) % 40)) <= {0, 1, 2, 38, 39}


def test_noise_to_void_looks_at_hidden_pixels_alone() -> None:
    spec = job(task_degradations=None, task_learns_from="noise2void", task_loss="l2")
    task, noisy = make_task(spec), torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = task.prepare(batch_of(noisy), 1)
    # A network that repeats what it sees is as far off as two pixels of noise are from each other.
    losses = task.phases()[0].loss({"model": Nothing()}, batch)
    assert float(losses.mean()) == pytest.approx(2.0, rel=0.3)
    spots = batch["spots"].expand_as(noisy)
    elsewhere = batch.plus(degraded=torch.where(spots, batch["degraded"], torch.tensor(7.0)))
    torch.testing.assert_close(task.phases()[0].loss({"model": Nothing()}, elsewhere), losses)
    assert tuple(task.metrics().compute()) == ("loss",)
    judged_too = spoiling("gaussian", task_learns_from="noise2void")
    assert "psnr" in {spec.name for spec in judged_too.task.metrics()}


def test_the_loss_mixes_errors_and_likeness() -> None:
    plain, mixed = (make_task(spoiling("gaussian", task_ssim_weight=weight)) for weight in (0.0, 0.84))
    errors, both = losses_of(plain, images(3)), losses_of(mixed, images(3))
    noisy = plain.prepare(batch_of(images(3)), 1)["degraded"]
    torch.testing.assert_close(both, 0.16 * errors + 0.84 * (1 - ssim(noisy, images(3))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data_intensity": "zscore", "data_window": None}, "[data] intensity: 'zscore'"),
        ({"task_degradations": None}, "degradations: are missing"),
        ({"task_reference": "other"}, "reference: is there instead of degradations"),
        ({"task_channels": [2]}, "[task] channels: there is no channel 2"),
        ({"task_learns_from": "noise2void", "task_ssim_weight": 0.5}, "ssim_weight: must be 0"),
        (
            {"task_learns_from": "noise2noise", "task_degradations": [{"kind": "motion"}]},
            "is for noise that is another in each pixel, not for 'motion'",
        ),
        ({"task_degradations": [{"kind": "downsample", "factor": [2, 2, 2]}]}, "has 3 numbers"),
        (
            {"task_degradations": [{"kind": "low-dose"}], "data_dimensions": 3, "data_size": [8, 8, 8]},
            "'low-dose' is for pictures",
        ),
        ({"task_degradations": [{"kind": "blur"}]}, "[task] degradations"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as error:
        job(**options)
    assert said in str(error.value)


def test_a_job_says_what_it_restores() -> None:
    spec = spoiling("rician", "bias")
    assert isinstance(spec.task, Restoration)
    assert spec.task.subject == "images from copies with Rician noise and uneven brightness"
