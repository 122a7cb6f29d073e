"""Reconstruction: what is measured of images, what is kept of it, and how the answers are judged."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.job_parts import networks_of
from shared.metrics.states import MetricSet
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.images.rays import filtered_back, projected
from shared.tasks.reconstruction.kspace import (
    as_complex,
    as_real,
    coil_maps,
    estimated_maps,
    magnitude,
    to_image,
    to_kspace,
)
from tests.jobs import make_job
from tests.shared.tasks.judging import judged_at_sites, smooth_images

KINDS: dict[str, dict[str, Any]] = {
    "cartesian": {"kind": "cartesian"},
    "equispaced": {"kind": "cartesian", "pattern": "equispaced"},
    "gaussian": {"kind": "cartesian", "pattern": "gaussian", "noise": 0.05},
    "coils": {"kind": "cartesian", "coils": 4, "centre": 0.2, "acceleration": 3.0},
    "radial": {"kind": "radial", "spokes": 6},
    "sparse": {"kind": "parallel-beam", "angles": 12},
    "low-dose": {"kind": "parallel-beam", "photons": 1000.0},
    "pet": {"kind": "pet", "counts": 5000.0},
}
OF_KSPACE = [name for name, own in KINDS.items() if own["kind"] in ("cartesian", "radial")]


def job(kind: str = "cartesian", **options: Any) -> JobSpec:
    size = options.pop("data_size", [24, 32])
    return make_job(task_name="reconstruction", task_measurement=KINDS[kind], data_size=size, **options)


def images(count: int, size: tuple[int, ...] = (24, 32), channels: int = 1) -> Tensor:
    return smooth_images(count, size, channels)


def batch_of(pictures: Tensor, start: int = 0) -> Batch:
    count = len(pictures)
    scale = torch.tensor([10.0, 200.0]).repeat(count, pictures.shape[1], 1)
    names = [f"p{(start + number) // 2}" for number in range(count)]
    keys = [str(start + number) for number in range(count)]
    return Batch({"image": pictures, "scale": scale}, names, keys=keys)


class Nothing(nn.Module):
    """A network that corrects nothing, of images of so many channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    def forward(self, image: Tensor) -> Tensor:
        return torch.zeros_like(image[:, : self._channels])


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_measured_by_its_own_seed(kind: str) -> None:
    """Alike in each evaluation and in whatever batch, another way in each step of training."""
    task, batch = make_task(job(kind)), batch_of(images(3))
    first, again = task.prepare(batch, 1), task.prepare(batch.chosen([2, 0]), 1)
    other = task.prepare(batch, 2)
    assert torch.equal(again["direct"], first["direct"][[2, 0]])
    assert torch.equal(other["direct"], first["direct"]) == (kind == "sparse")  # of which nothing is drawn
    assert bool(first["direct"].isfinite().all())


METHODS: dict[str, dict[str, Any]] = {
    "recurrent": {},
    "memory": {"task_memory": 2},
    "cascade": {
        "task_method": "cascade",
        "task_steps": None,
        "model": {"name": "cnn-cascade", "stages": 2, "features": 4, "layers": 3},
    },
    "variational": {
        "task_method": "variational",
        "task_steps": None,
        "model": {"name": "varnet", "cascades": 2, "features": [4] * 6, "coil_features": [2] * 6},
    },
}


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (kind, method)
        for kind in OF_KSPACE
        for method in METHODS
        if kind == "coils" or method != "variational"
    ],
)
def test_what_was_measured_is_in_the_answer(kind: str, method: str) -> None:
    spec = job(kind, **METHODS[method])
    task, models = make_task(spec), models_of(build_model(spec))
    batch = task.prepare(batch_of(images(3)), 1)
    predicted, mask = task.predict(models, batch), batch["mask"]
    found, measured = (as_complex(part["kspace"]) for part in (predicted, batch))
    taken = mask.expand_as(found)
    assert float((found - measured)[taken].abs().max()) < 1e-5
    assert float(found[~taken].abs().max()) > 0.01  # the network has filled in the rest
    shown = magnitude(as_real(to_image(found))).clamp(0, 1)
    torch.testing.assert_close(predicted["image"], shown)
    assert bool((measured[~taken] == 0).all())


def test_a_job_says_how_far_measurements_count() -> None:
    found = {}
    for share in (0.0, 0.25, 1.0):
        measurement = {"kind": "cartesian", "consistency": share}
        spec = make_job(task_name="reconstruction", task_measurement=measurement, task_steps=1)
        task, models = make_task(spec), models_of(build_model(spec))
        batch = task.prepare(batch_of(images(2, (16, 16))), 1)
        found[share] = task.predict(models, batch)["kspace"]
    mask = batch["mask"].expand_as(found[0.0])
    mixed = found[0.0] + 0.25 * (batch["kspace"] - found[0.0])
    torch.testing.assert_close(found[0.25], torch.where(mask, mixed, found[0.0]))
    torch.testing.assert_close(found[1.0], torch.where(mask, batch["kspace"], found[0.0]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["coils", "sparse"])
def test_every_part_of_a_network_learns(kind: str, method: str) -> None:
    if (kind, method) == ("sparse", "variational"):
        with pytest.raises(JobError, match="'variational' is for k-space, not for 'parallel-beam'"):
            job(kind, **METHODS[method])
        return
    spec = job(kind, **METHODS[method])
    model, task = build_model(spec), make_task(spec)
    batch = task.prepare(batch_of(images(2)), 1)
    task.phases()[0].loss(models_of(model), batch).mean().backward()
    norms = {name: float(own.grad.norm()) for name, own in model.named_parameters() if own.grad is not None}
    assert norms.keys() == {name for name, _ in model.named_parameters()}
    # Of VarNet the first and the last step's own consistency changes nothing in what is measured.
    assert all(norm > 0 for name, norm in norms.items() if name.endswith(".weight")), norms


def test_maps_that_are_learnt_are_of_complex_coils() -> None:
    """Their squared magnitudes add up to 1; those of the real parts alone don't."""
    for dimensions, size in ((2, (32, 32)), (3, (16, 16, 32))):
        spec = job("coils", **METHODS["variational"], data_dimensions=dimensions, data_size=list(size))
        network = build_model(spec)
        measured = torch.randn(2, 4, *size, 2, generator=torch.Generator().manual_seed(1))
        squares = network.maps(measured, slice(14, 18)).square()  # type: ignore[operator]
        torch.testing.assert_close(squares.sum((1, -1)), torch.ones(2, *size))
        assert float((squares[..., 0].sum(1) - 1).abs().max().detach()) > 0.1
        cascades = network.network.cascades  # type: ignore[union-attr]
        assert {own.spatial_dims for own in cascades} == {dimensions}  # type: ignore[union-attr]


def test_the_job_and_not_the_network_says_how_steps_are_made() -> None:
    spec = make_job(task_name="reconstruction", task_measurement=KINDS["cartesian"], data_size=[16, 16])
    task, network = make_task(spec), Nothing(2)
    network.stages = nn.ModuleList([nn.Identity()])  # as those of some backbones are called
    batch = task.prepare(batch_of(images(1, (16, 16))), 1)
    assert task.predict({"model": network}, batch)["image"].shape == (1, 1, 16, 16)


def test_a_network_has_about_as_many_numbers_as_it_says() -> None:
    for method in ("cascade", "variational"):
        table = {"name": METHODS[method]["model"]["name"]}
        for dimensions, size in ((2, [32, 32]), (3, [16, 16, 32])):
            spec = job(
                "coils",
                task_method=method,
                task_steps=None,
                model=table,
                data_dimensions=dimensions,
                data_size=size,
            )
            real = sum(own.numel() for own in build_model(spec).parameters())
            [network] = networks_of(spec)
            assert network.options.about_numbers(network.ends) == pytest.approx(real, rel=1 / 3)


@pytest.mark.parametrize("acceleration", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("pattern", ["random", "equispaced", "gaussian"])
def test_as_many_lines_are_measured_as_the_job_says(acceleration: float, pattern: str) -> None:
    measurement = {"kind": "cartesian", "acceleration": acceleration, "pattern": pattern, "centre": 0.1}
    spec = make_job(task_name="reconstruction", task_measurement=measurement, data_size=[16, 80])
    masks = make_task(spec).prepare(batch_of(images(4, (16, 80))), 1)["mask"][:, 0]
    assert bool((masks == masks[:, :1]).all())  # whole lines
    assert (masks[:, 0].sum(1) == 80 / acceleration).all()
    assert bool(masks[:, 0, 36:44].all())


def test_kspace_holds_the_whole_image() -> None:
    for size in ((24, 32), (7, 9), (5, 8, 6)):
        picture = torch.complex(images(2, size), images(3, size)[:2])
        whole = to_kspace(picture)
        torch.testing.assert_close(to_image(whole), picture)
        assert float(whole.abs().square().sum()) == pytest.approx(
            float(picture.abs().square().sum()), rel=1e-5
        )
        place = tuple(side // 2 for side in size)  # the middle is the sum of the image
        assert complex(whole[(0, 0, *place)]) == pytest.approx(
            complex(picture[0, 0].sum()) / math.sqrt(math.prod(size)), rel=1e-4
        )


def test_volumes_are_measured_too() -> None:
    spec = job(data_dimensions=3, data_size=[8, 6, 16])
    task, models = make_task(spec), models_of(build_model(spec))
    batch = task.prepare(batch_of(images(2, (8, 6, 16))), 1)
    assert task.predict(models, batch)["image"].shape == (2, 1, 8, 6, 16)


def test_coils_are_told_apart_by_the_middle_of_kspace() -> None:
    maps = coil_maps(4, (32, 32), torch.Generator().manual_seed(2))[None]
    assert torch.allclose(maps.abs().square().sum(1), torch.ones(1, 32, 32))
    body = images(1, (32, 32)).to(torch.complex64)
    found = estimated_maps(to_kspace(maps * body), 0.25)
    likeness = (found.conj() * maps).sum(1).abs()[0]  # 1 where they are the same but for a phase
    assert float(likeness[4:-4, 4:-4].min()) > 0.98
    assert float(found.abs().square().sum(1).max()) == pytest.approx(1, abs=1e-5)


def test_all_of_kspace_gives_the_image_back() -> None:
    """A network that corrects nothing, and nothing to fill in."""
    measurement = {"kind": "cartesian", "acceleration": 1.001, "coils": 3, "centre": 0.5}
    spec = make_job(task_name="reconstruction", task_measurement=measurement, data_size=[16, 16])
    task = make_task(spec)
    batch = task.prepare(batch_of(images(2, (16, 16))), 1)
    assert bool(batch["mask"].all())
    predicted = task.predict({"model": Nothing(2)}, batch)
    torch.testing.assert_close(predicted["image"], images(2, (16, 16)), atol=1e-5, rtol=0)


def test_noise_of_kspace_is_as_strong_in_the_image() -> None:
    measurement = {"kind": "cartesian", "acceleration": 1.001, "noise": 0.05}
    spec = make_job(task_name="reconstruction", task_measurement=measurement, data_size=[64, 64])
    task, flat = make_task(spec), torch.full((1, 1, 64, 64), 0.5)
    direct = task.prepare(batch_of(flat), 1)["direct"]
    assert float((direct[:, :1] - flat).std()) == pytest.approx(0.05, rel=0.05)
    assert float(direct[:, 1:].std()) == pytest.approx(0.05, rel=0.05)


def test_fewer_angles_and_fewer_photons_are_worse() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
    disc = ((x**2 + y**2 < 0.6).float() * 0.8)[None, None]

    def error(**options: Any) -> float:
        measurement = {"kind": "parallel-beam", **options}
        spec = make_job(task_name="reconstruction", task_measurement=measurement, data_size=[48, 48])
        return float((make_task(spec).prepare(batch_of(disc), 1)["direct"] - disc).square().mean().sqrt())

    assert error(angles=90) < error(angles=12) / 1.5
    few, many = error(angles=90, photons=1e3), error(angles=90, photons=1e5)
    assert error(angles=90) < many < few


def test_a_network_sees_what_rays_lack() -> None:
    """Of an image that is too bright everywhere, the guide says less, and more of one that is too dark."""
    for kind in ("sparse", "pet"):
        task, pictures = make_task(job(kind, data_size=[32, 32])), images(2, (32, 32))
        batch = task.prepare(batch_of(pictures), 1)
        scanner = task._scanner  # type: ignore[attr-defined]
        for factor in (0.5, 2.0):
            guide = scanner.guided(factor * pictures, batch)[:, 1, 8:-8, 8:-8]
            assert bool((guide.mean((1, 2)) > 0).all()) == (factor < 1)


def test_steps_of_ml_em_agree_with_the_counts() -> None:
    """Each is nearer to the counts, and has as many of them (Shepp and Vardi 1982)."""
    pictures = images(2, (32, 32))
    found = []
    for iterations in (1, 5, 20):
        measurement = {"kind": "pet", "counts": 1e6, "iterations": iterations}
        spec = make_job(task_name="reconstruction", task_measurement=measurement, data_size=[32, 32])
        batch = make_task(spec).prepare(batch_of(pictures), 1)
        expected = projected(batch["direct"][:, 0], 90)
        counts = batch["rays"][:, 0]
        found.append(float((expected - counts * expected.clamp(min=1e-6).log()).sum()))
        inside = slice(4, -4)
        assert float(expected[:, :, inside].sum()) == pytest.approx(
            float(counts[:, :, inside].sum()), rel=0.05
        )
    assert found[0] > found[1] > found[2]


def test_rays_are_those_of_scikit_image() -> None:
    transform = pytest.importorskip("skimage.transform")
    y, x = torch.meshgrid(torch.arange(47) - 23.0, torch.arange(47) - 23.0, indexing="ij")
    picture = (((x - 6) ** 2 + (y + 4) ** 2) < 12**2).float()[None]
    picture[0, 40:45, 2:6] = 0.5  # in a corner
    angles = [-180 * number / 60 for number in range(60)]  # its turn is the other way round
    rays = projected(picture, 60)
    theirs = transform.radon(picture[0].numpy(), angles, circle=False).T
    assert rays[0].numpy() == pytest.approx(theirs, abs=1e-4)
    back = transform.iradon(theirs.T, angles, circle=False)
    assert filtered_back(rays, (47, 47))[0].numpy() == pytest.approx(back, abs=2e-3)


def test_rays_cover_the_corners() -> None:
    """An even picture comes back even; rays as many as its side would leave 15 dB of it."""
    flat = torch.full((1, 48, 48), 0.5)
    back = filtered_back(projected(flat, 120), (48, 48))
    assert float(back[:, :4, :4].mean()) == pytest.approx(0.5, abs=0.05)
    assert float((back - flat).square().mean()) < 10 ** (-2.5)


@pytest.mark.parametrize("size", [(16, 16), (16, 21), (17, 16), (15, 24)])
def test_rays_are_around_the_middle_of_a_picture(size: tuple[int, int]) -> None:
    """Whatever its sides: a pixel comes back where it was."""
    picture = torch.zeros(1, *size)
    picture[0, 4, 9] = 1
    rays = projected(picture, 64)
    places = torch.arange(rays.shape[2]) - (rays.shape[2] - 1) / 2
    away = (rays[0] * places).sum(1) / rays[0].sum(1)
    assert float(away[0]) == pytest.approx(9 - (size[1] - 1) / 2, abs=0.02)
    assert float(away[32]) == pytest.approx(4 - (size[0] - 1) / 2, abs=0.02)
    assert int(filtered_back(rays, size).argmax()) == 4 * size[1] + 9


def judged(spec: JobSpec, pictures: Tensor, parts: int = 1) -> list[MetricSet]:
    return judged_at_sites(spec, pictures, batch_of, parts)


@pytest.mark.parametrize("kind", ["coils", "pet"])
def test_sums_of_sites_are_those_of_all_images(kind: str) -> None:
    spec = job(kind)
    [whole] = judged(spec, images(11))
    merged = make_task(spec).metrics()
    for part in judged(spec, images(11), parts=3):
        merged.merge(part.pack())
    assert merged.compute() == pytest.approx(whole.compute(), abs=1e-6)
    assert {"psnr", "psnr_direct", "psnr_gain", "ssim", "mae"} <= set(whole.compute())


def test_only_the_chosen_channel_is_measured() -> None:
    spec = job(data_channels=3, task_channel=2)
    task, models = make_task(spec), models_of(build_model(spec))
    pictures, others = images(2, channels=3), images(2, channels=3)
    others[:, [0, 2]] = 0
    first, second = (task.prepare(batch_of(own), 1) for own in (pictures, others))
    predicted = task.predict(models, first)
    assert torch.equal(predicted["image"], task.predict(models, second)["image"])
    looks = task.looks(predicted, first)
    assert [shown.title for shown in looks[0].pictures] == ["zero-filled", "reconstructed", "true"]
    assert torch.equal(torch.from_numpy(looks[1].pictures[2].image), pictures[1, 1:2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data_intensity": "zscore", "data_window": None}, "[data] intensity: 'zscore'"),
        ({"task_channel": 2}, "[task] channel: there is no channel 2"),
        (
            {"task_measurement": {"kind": "cartesian", "centre": 0.3}},
            "[task.measurement] centre: 0.3 of the lines",
        ),
        (
            {"task_measurement": {"kind": "pet"}, "data_dimensions": 3, "data_size": [8, 8, 8]},
            "[task.measurement] kind: 'pet' is for pictures",
        ),
        ({"task_measurement": {"kind": "spiral"}}, "[task] measurement"),
        (
            {**METHODS["variational"], "task_measurement": {"kind": "radial", "coils": 4}},
            "the middle lines, which spokes don't have",
        ),
        ({**METHODS["variational"], "task_measurement": KINDS["cartesian"]}, "is for several coils"),
        (
            {**METHODS["variational"], "task_measurement": KINDS["coils"], "task_steps": 8},
            "steps: 'variational' has those of its network",
        ),
        (
            {**METHODS["cascade"], "task_measurement": KINDS["coils"], "task_steps": 2},
            "steps: 'cascade' has those of its network",
        ),
        ({"task_measurement": None}, "[task] measurement"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as error:
        make_job(task_name="reconstruction", **options)
    assert said in str(error.value)
