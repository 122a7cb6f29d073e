"""Samples of several fields: one draw moves all of them, and only images change their shade."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from client.data.kinds import make_kinds
from client.data.motion.augment import MOTIONS, SHADINGS
from client.data.samples.batches import Samples
from shared.errors import DataError, JobError
from shared.job.schema import JobSpec
from shared.tasks.fields import Field
from tests.jobs import make_job


def job_of(dimensions: int = 2, **data: Any) -> JobSpec:
    shape = {"size": None} if "patch" in data else {"size": [12] * dimensions}
    options = {"dimensions": dimensions, "augment": [], **shape, **data}
    return make_job(**{f"data_{key}": value for key, value in options.items()})


def samples_of(job: JobSpec, count: int = 1, kinds: Any = None, **columns: Any) -> Samples:
    names = [str(number) for number in range(count)]
    return Samples(job, columns, patients=names, keys=names, spacings=[None] * count, kinds=kinds)


def marked(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return an image and the mask of its bright part."""
    mask = torch.zeros(shape, dtype=torch.uint8)
    mask[1:5, 4:7] = 1
    return mask[None].float() + torch.linspace(0, 0.2, mask.numel()).reshape(1, *shape), mask


GREY = [name for name in SHADINGS if name != "colour"]  # for images of any number of channels


@pytest.mark.parametrize("shape", [(12, 12), (10, 14), (8, 8, 6)])
@pytest.mark.parametrize("name", [*MOTIONS, *GREY])
def test_augmentation_is_seeded_and_keeps_image_and_mask_together(name: str, shape: tuple[int, ...]) -> None:
    image, mask = marked(shape)
    samples = samples_of(job_of(len(shape), augment=[name]), image=image[None], mask=mask[None])
    changed = 0
    for seed in range(8):
        first, again = (samples.batch([0], augment_seed=seed) for _ in range(2))
        assert torch.equal(first["image"], again["image"])
        moved, labels = first["image"][0], first["mask"][0]
        assert moved.shape == image.shape
        assert labels.dtype == torch.uint8
        changed += not torch.equal(moved, image)
        middle = (moved.max() + moved.min()) / 2
        assert ((moved[0] > middle) != (labels == 1)).float().mean() < 0.1
    assert changed


def test_half_of_the_crops_lie_on_the_foreground() -> None:
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[60:62, 3:5] = 1
    samples = samples_of(job_of(patch=[8, 8]), image=mask[None, None].float(), mask=mask[None])
    crops = [samples.batch([0], augment_seed=seed) for seed in range(200)]
    assert all(crop["image"].shape == (1, 1, 8, 8) for crop in crops)
    assert all(torch.equal(crop["image"][0, 0], crop["mask"][0].float()) for crop in crops)
    assert 80 < sum(bool(crop["mask"].any()) for crop in crops) < 130


def test_a_small_image_is_padded_to_the_patch() -> None:
    samples = samples_of(
        job_of(patch=[8, 6]),
        image=torch.ones(1, 1, 3, 10),
        mask=torch.ones(1, 3, 10, dtype=torch.uint8),
    )
    batch = samples.batch([0], augment_seed=0)
    assert batch["image"].shape == (1, 1, 8, 6)
    assert batch["image"].sum() == batch["mask"].sum() == 18


@pytest.mark.parametrize("name", list(MOTIONS))
def test_an_image_that_is_a_target_moves_with_its_input_and_keeps_its_values(name: str) -> None:
    job = job_of(augment=[name, *GREY])
    kinds = make_kinds({"source": Field("image"), "target": Field("image", role="target")}, job.data)
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 12, 12)).astype(np.float32))
    moving = samples_of(job_of(augment=[name]), kinds=kinds, source=image, target=image)
    shaded = samples_of(job, kinds=kinds, source=image, target=image)
    changed = 0
    for seed in range(8):
        moved, both = moving.batch([0], augment_seed=seed), shaded.batch([0], augment_seed=seed)
        assert torch.equal(moved["source"], moved["target"])
        assert torch.equal(both["target"], moved["target"])
        assert not torch.equal(both["source"], both["target"])
        changed += not torch.equal(moved["target"], image)
    assert changed


def test_one_patch_is_not_cut_out_of_images_of_several_shapes() -> None:
    job = job_of(patch=[8, 8])
    kinds = make_kinds({"fixed": Field("image"), "moving": Field("image")}, job.data)
    samples = samples_of(job, kinds=kinds, fixed=torch.zeros(1, 1, 12, 12), moving=torch.zeros(1, 1, 12, 10))
    with pytest.raises(DataError, match="several shapes"):
        samples.batch([0], augment_seed=1)


def test_colours_change_and_grey_and_brightness_stay_about() -> None:
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    grey = image.mean(1, keepdim=True).expand(-1, 3, -1, -1).clone()
    job = job_of(augment=["colour"], channels=3)
    kinds = make_kinds({"image": Field("image")}, job.data)
    changed = 0
    for seed in range(8):
        both = [samples_of(job, kinds=kinds, image=own) for own in (image, grey)]
        coloured, plain = (own.batch([0], augment_seed=seed)["image"] for own in both)
        changed += not torch.equal(coloured, image)
        torch.testing.assert_close(plain / grey, (plain / grey).mean((2, 3), keepdim=True).expand_as(grey))
        assert float((plain / grey - 1).abs().max()) <= 0.05 + 1e-6
        torch.testing.assert_close(coloured.mean(1), image.mean(1), atol=0.06, rtol=0)
    assert 1 <= changed < 8
    with pytest.raises(JobError, match=r"'colour' is for images of three channels"):
        job_of(augment=["colour"])


def test_crops_are_magnified_wherever_they_lie() -> None:
    """What is seen is 80 to 100 percent of each axis, and its middle need not be that of the image."""
    where = torch.stack(torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij"))[None]
    job = make_job(data_size=[20, 20], data_channels=2, data_augment=["crop"])
    kinds = make_kinds({"image": Field("image")}, job.data)
    samples = samples_of(job, kinds=kinds, image=where)
    seen = [samples.batch([0], augment_seed=seed)["image"][0] for seed in range(30)]
    spans = torch.tensor([float(own[0].max() - own[0].min()) for own in seen])
    middles = torch.stack([own.mean((1, 2)) for own in seen])
    assert 0.78 * 19 < spans.min() < 0.9 * 19
    assert spans.max() <= 19
    assert (middles - 9.5).abs().max() > 0.5
    assert (middles - 9.5).abs().max() <= 2
