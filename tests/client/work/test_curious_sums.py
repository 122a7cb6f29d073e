"""A curious coordinator with made models: what it reads of one patient out of exact sums, and out of ours.

It knows everything but one patient: how many others there are, what the made model gives them, and the sum of
the other sites behind the masks. Each question is a round of evaluation.
"""

import json

import numpy as np
import pytest
import torch
from flwr.app import RecordDict
from PIL import Image

from client.guard.cohort import Cohort
from client.work.hospital import Site
from client.work.warm_networks import Workshop
from shared.job.schema import JobSpec, parse_job
from shared.metrics.states import MetricSet
from shared.networks.build import build_model
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.packed_model import Layout
from tests.batches import predict, sample_losses

ASKED, OTHERS = 200, 39
MARK = 63  # pixel of each 8 x 8 patch that is white in the target's image alone
CHANCE = 2.6 * (ASKED / 4) ** 0.5  # 99 % of guessing

Vector = np.ndarray


class MadeModel:
    """A transformer that computes on one pixel of the marked image, and gives all others one score.

    Attention reads pixel and mark of one patch; a GELU that a mark alone opens lets the pixel through.

    Args:
        job: With a network of one block of 64 features, on patches of 8 x 8.
        gain: How far the pixel moves the score of the marked image.
    """

    def __init__(self, job: JobSpec, gain: float) -> None:
        self.job, self.task, self._gain = job, make_task(job), gain
        self.network = build_model(job).eval()
        self.layout = Layout.of(self.network)
        self._state = dict(self.network.named_parameters())
        self._open, self._width = 0.0, 1.0

    def aim(self, pixel: int) -> Vector:
        """Return the weights that read a pixel: patch `pixel // 63`, and there number `pixel % 63`."""
        patch, place = divmod(pixel, MARK)
        self._open, self._width = 0.0, 1.0
        self._write(patch, place)
        shut, opened = (self._gate(patch, value) for value in (0.0, 1.0))
        self._open, self._width = opened, (opened - shut) / 20
        self._write(patch, place)
        return self.layout.pack(self.network)

    def switch(self, pixel: int) -> list[Vector]:
        """Return weights that see nothing, and such that see whether a pixel of the marked image is bright.

        All other images, and a dark one, have the same score under both, bit for bit.
        """
        self.aim(pixel)
        self._open, self._width = self._open + 2.5 * self._width, self._width / 8
        self._write(*divmod(pixel, MARK))
        sees = self.layout.pack(self.network)
        head = next(value for key, value in self._state.items() if "classification_head.weight" in key)
        with torch.no_grad():
            head.zero_()
        return [self.layout.pack(self.network), sees]

    def losses(self, pixel: int, values: Vector, *, mark: float, label: int) -> Vector:
        """Return the losses of images that have these values at a pixel."""
        patch, place = divmod(pixel, MARK)
        images = torch.zeros(len(values), 1, 16, 16)
        at = images[:, 0, 8 * (patch // 2) :, 8 * (patch % 2) :]
        at[:, place // 8, place % 8] = torch.from_numpy(values).float()
        at[:, MARK // 8, MARK % 8] = mark
        logits = predict(self.task, self.network, images)
        return sample_losses(self.task, logits, torch.full((len(values),), label)).double().numpy()

    def _gate(self, patch: int, mark: float) -> float:
        """Return what reaches the gate of an image with a mark, or of a white pixel without one."""
        found: list[float] = []
        gate = self.network.network.blocks[0].mlp.linear1
        hook = gate.register_forward_hook(lambda _, __, output: found.append(float(output[0, 0, 0])))
        images = torch.zeros(1, 1, 16, 16)
        images[0, 0, 8 * (patch // 2) + 7, 8 * (patch % 2) + 7] = mark if mark else 0.25
        with torch.no_grad():
            self.network(images)
        hook.remove()
        return found[0]

    def _write(self, patch: int, place: int) -> None:
        def part(text: str) -> torch.Tensor:
            return next(value for key, value in self._state.items() if text in key)

        with torch.no_grad():
            for key, value in self._state.items():
                value.fill_(1.0 if "norm" in key and key.endswith("weight") else 0.0)
            reads = part("patch_embeddings.weight").view(64, 64)
            reads[0, place], reads[0, MARK] = 1.0, 4.0
            positions = part("position_embeddings").view(-1, 64)
            for token in range(positions.shape[0]):
                positions[token, 1 + token] = 50.0
            part("cls_token").view(-1)[20] = 50.0
            query, bias = part("qkv.weight"), part("qkv.bias")
            bias[0], query[64, 1 + patch], query[128, 0] = 40.0, 1.0, 1.0
            part("out_proj.weight")[30, 0] = 6.0
            part("linear1.weight")[0, 30] = 1.0 / self._width
            part("linear1.bias")[0] = -self._open / self._width
            part("linear2.weight")[31, 0] = 1.0
            head = part("classification_head.weight")
            head[1, 31], head[1, 40] = -self._gain, self._gain  # less an empty one: free of the norm's mean
            part("classification_head.bias")[1] = 6.0


class Hospital:
    """A real site, and what the coordinator sees of it once it has taken off what it knows of the others."""

    def __init__(self, site, job: JobSpec) -> None:
        self.site, self._job, self._folder = site.site, job, site.folder

    def rehearsed(self) -> Cohort:
        cohort = Cohort.rehearsed(self._folder)
        assert cohort is not None
        return cohort

    def states(self, vector: Vector, layout: Layout, round_: int = 1) -> MetricSet:
        config = messages.request_config(self._job.canonical(), layout.digest(), round_, split="test")
        record = messages.evaluation_record(vector, None)
        request = messages.read_request(RecordDict({messages.ARRAYS: record, messages.CONFIG: config}))
        metrics, states = self.site.summand(request, judging=True, patients=10 * (OTHERS + 1))
        metrics.merge(states)
        return metrics.whole

    def image(self, patient: str) -> Vector:
        data = self.site.data(self._job).split("test")
        return data.batch([data.patients.index(patient)])["image"][0, 0].numpy()


@pytest.fixture
def job(job_of) -> JobSpec:
    table = json.loads(job_of(data_intensity="minmax", job_rounds=3).canonical())
    vit = {"name": "vit", "patch": 8, "features": 64, "layers": 1, "heads": 1}
    return parse_job(table | {"model": vit}, "made")


@pytest.fixture
def hospital(make_site, job) -> Hospital:
    """A hospital of 40 test patients, the second of whom has a mark in the corner of each patch."""
    site = make_site(sides=["test"] * (OTHERS + 1), opened=False)
    for path in site.folder.glob("*.png"):
        pixels = np.array(Image.open(path))
        pixels[::8, 0] = [0, 255]
        pixels[7::8, 7::8] = 255 if path.name == "1.png" else 0
        Image.fromarray(pixels).save(path)
    site.restart()
    return Hospital(site, job)


@pytest.mark.parametrize("gain", [11.0, 100.0], ids=["between the others", "far from the others"])
def test_no_pixel_is_read_out_of_a_sum_of_losses(hospital, job, gain):
    made, image, right = MadeModel(job, gain), hospital.image("p1"), 0
    grid = np.linspace(0, 1, 64)
    for pixel in range(ASKED):
        vector = made.aim(pixel)
        curve = made.losses(pixel, grid, mark=1.0, label=1)
        others = [made.losses(pixel, grid, mark=0.0, label=label) for label in (0, 1)]
        assert max(float(np.ptp(losses)) for losses in others) < 1e-6  # all others are known
        assert np.ptp(curve) > 1
        total = float(hospital.states(vector, made.layout).metrics["loss"].total)
        known = (OTHERS + 1) / 2 * others[0][0] + (OTHERS - 1) / 2 * others[1][0]
        read = np.interp(total - known, curve, grid)
        patch, place = divmod(pixel, MARK)
        true = image[8 * (patch // 2) + place // 8, 8 * (patch % 2) + place % 8]
        right += int((read > 0.5) == (true > 0.5))
    assert abs(right - ASKED / 2) < CHANCE


def test_no_pixel_is_read_from_whether_two_answers_are_the_same(hospital, job):
    """Noise that came from the values alone told it: 157 of 200 pixels."""
    made, image, right = MadeModel(job, 11.0), hospital.image("p1"), 0
    for pixel in range(ASKED):
        blind, sees = (
            hospital.states(vector, made.layout, 2 * pixel + which)
            for which, vector in enumerate(made.switch(pixel))
        )
        same = float(blind.metrics["loss"].total) == float(sees.metrics["loss"].total)
        patch, place = divmod(pixel, MARK)
        is_bright = image[8 * (patch // 2) + place // 8, 8 * (patch % 2) + place % 8] > 0.5
        right += int(is_bright != same)
    assert abs(right - ASKED / 2) < CHANCE


def test_a_rehearsal_with_the_hospitals_files_gives_the_same_bits(hospital, job):
    vector, layout = MadeModel(job, 11.0).aim(3), MadeModel(job, 11.0).layout
    told = hospital.states(vector, layout).pack()
    site = hospital.site
    hospital.site = Site(site.config, Workshop(torch.device("cpu")), gate=None, cohort=hospital.rehearsed())
    np.testing.assert_array_equal(hospital.states(vector, layout).pack(), told)
    hospital.site = Site(site.config, Workshop(torch.device("cpu")), gate=None)  # another key
    assert not np.array_equal(hospital.states(vector, layout).pack(), told)
