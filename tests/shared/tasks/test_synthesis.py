"""Synthesis: which channels are seen and made, what stands in for missing ones, and two networks."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.batch import Batch
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from shared.tasks.images.closeness import psnr
from tests.jobs import make_job
from tests.shared.tasks.judging import judged

PAIR = {
    "task_method": "pix2pix",
    "model": {
        "generator": {"name": "unet", "channels": [4, 8], "num_res_units": 0},
        "discriminator": {"name": "discriminator", "channels": [4, 8]},
    },
}


THREE = {"task_reference": None, "task_source": [1, 2], "task_target": [3], "data_channels": 3}


def job(**options: Any) -> JobSpec:
    return make_job(task_name="synthesis", **THREE | options)


def batch_of(count: int, start: int = 0, **values: Any) -> Batch:
    """Return images whose third channel is near the second one."""
    generator = torch.Generator().manual_seed(start)
    images = torch.rand(count, 3, 16, 16, generator=generator)
    images[:, 2] = (images[:, 1] + 0.1 * torch.rand(count, 16, 16, generator=generator)).clamp(0, 1)
    scale = torch.tensor([[0.0, 10.0], [0.0, 20.0], [5.0, 30.0]]).repeat(count, 1, 1)
    names = [f"p{(start + number) // 2}" for number in range(count)]
    return Batch({"image": images, "scale": scale, **values}, names, keys=names)


class Second(nn.Module):
    """Makes the second of the channels that it sees."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, 1:2]


@pytest.mark.parametrize("options", [{}, PAIR], ids=["direct", "pix2pix"])
def test_what_is_made_does_not_depend_on_what_it_should_be(options: dict[str, Any]) -> None:
    spec, batch = job(**options), batch_of(3)
    task, models = make_task(spec), models_of(build_model(spec))
    made = task.predict(models, batch)["image"]
    assert made.shape == (3, 1, 16, 16)
    other = batch.plus(image=torch.cat([batch["image"][:, :2], torch.zeros(3, 1, 16, 16)], dim=1))
    assert torch.equal(task.predict(models, other)["image"], made)


def test_copying_the_nearest_channel_is_what_it_is_compared_with() -> None:
    batch = batch_of(4)
    metrics, task = make_task(job()).metrics(), make_task(job())
    predicted = task.predict({"model": Second()}, batch)
    task.update(metrics, predicted, batch, task.sample_losses({}, batch, predicted))
    values = metrics.compute()
    images = batch["image"]
    assert values["psnr"] == pytest.approx(float(psnr(images[:, 1:2], images[:, 2:]).mean()), abs=1e-6)
    assert values["psnr_gain"] == 0
    assert values["mae"] == pytest.approx(30 * float((images[:, 1] - images[:, 2]).abs().mean()), rel=1e-5)
    for name in ("psnr", "ssim", "mae"):
        assert values[f"{name}_copied"] == pytest.approx(values[name], abs=1e-9)


def test_stand_ins_are_neither_learnt_nor_judged() -> None:
    """Packs fill in a missing sequence as a copy of another, or leave it black."""
    batch, task = batch_of(4), make_task(job())
    images = batch["image"].clone()
    images[0, 2], images[1, 2] = images[0, 1], 0.0
    filled = batch.plus(image=images)
    losses = task.phases()[0].loss(models_of(build_model(job())), filled)
    assert (losses == 0).tolist() == [True, True, False, False]
    own, few = judged(job(), [filled]).compute(), judged(job(), [filled.chosen([2, 3])]).compute()
    assert own == pytest.approx(few, abs=1e-9)
    look = task.looks(task.predict(models_of(build_model(job())), filled), filled)
    assert math.isnan(look[0].score)
    assert [picture.title for picture in look[2].pictures] == [
        *("given: channel 1", "given: channel 2", "made", "true")
    ]


def test_sums_of_sites_are_those_of_all_images() -> None:
    batches = [batch_of(5, start) for start in (0, 10, 20)]
    batches[1] = batch_of(3, 10, image=batch_of(3, 10)["image"][:, [0, 1, 1]])  # a site without one
    merged = make_task(job()).metrics()
    for batch in batches:
        merged.merge(judged(job(), [batch]).pack())
    assert merged.compute() == pytest.approx(judged(job(), batches).compute(), abs=1e-6)


def test_a_column_may_hold_what_is_made() -> None:
    spec = job(task_source=None, task_target=None, task_reference=["ct"], data_channels=2)
    fields = spec.task.fields()
    assert (fields["reference"].columns, fields["reference"].channels) == (("ct",), 1)
    task, batch = make_task(spec), batch_of(2)
    pair = Batch({"image": batch["image"][:, :2], "reference": batch["image"][:, 2:]}, ["a", "b"])
    predicted = task.predict({"model": Second()}, pair)
    torch.testing.assert_close(predicted["image"], pair["image"][:, 1:])
    [answer, _] = task.answers(
        Batch({"image": pair["image"]}, ["a", "b"]), predicted
    )  # nobody knows the truth
    assert answer.cells == {}


def test_a_channel_may_be_corrected() -> None:
    """An untrained network then begins near to a copy of it; what is exported does the same."""
    spec, batch = job(task_corrects=2), batch_of(3)
    task, models = make_task(spec), models_of(build_model(spec))
    made, copied = task.predict(models, batch)["image"], batch["image"][:, 1:2]
    assert float((made - copied).abs().mean()) < 0.15
    program = task.program(models)
    assert program is not None
    torch.testing.assert_close(program.module.eval()(batch["image"]), made)


def test_two_networks_compete() -> None:
    """The discriminator's loss falls as it tells them apart; the other's as it is close and fools it."""
    spec, batch = job(**PAIR, task_closeness=2.0), batch_of(4)
    task, models = make_task(spec), models_of(build_model(spec))
    critic, maker = task.phases()
    assert (maker.networks, critic.networks) == (("generator",), ("discriminator",))
    apart = task.sample_losses(models, batch, task.forward(models, batch))
    seen, made = batch["image"][:, :2], task.forward(models, batch)["image"]
    answer = models["discriminator"](torch.cat([seen, made], dim=1))[:, 0]
    real = models["discriminator"](batch["image"])[:, 0]
    softplus = nn.functional.softplus
    torch.testing.assert_close(maker.loss(models, batch), 2 * apart + softplus(-answer))
    torch.testing.assert_close(critic.loss(models, batch), softplus(-real) + softplus(answer))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_target": None}, "target: give channels of the image, or columns in reference"),
        ({"task_reference": ["ct"]}, "target: give channels of the image, or columns in reference"),
        ({"task_source": None}, "source: is missing"),
        ({"task_source": [1, 3]}, "target: channel 3 is in source too"),
        ({"task_target": [4]}, "[task] target: there is no channel 4"),
        ({"task_corrects": 3}, "corrects: channel 3 is not in source"),
        ({"data_augment": ["noise"]}, "[data] augment: 'noise' would change what is to be made"),
        ({"data_intensity": "zscore", "data_window": None}, "[data] intensity: 'zscore'"),
        ({"task_method": "pix2pix"}, "model"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as error:
        job(**options)
    assert said in str(error.value)
