"""FedNova, FedPer, FedRep, FedSAM and fine-tuning against the equations of their papers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from client.data.samples.batches import Samples
from client.training.loop import LocalTraining
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.strategies.fedavg import FedAvg
from shared.strategies.fednova import MOMENTUM, STEPS, FedNova
from shared.strategies.fedper import FedPer, InTurn
from shared.strategies.fedsam import FedSAM
from shared.strategies.finetune import FineTune
from shared.strategies.last_layers import last_layers
from shared.strategies.vectors import MODEL, Steps
from shared.wire.packed_model import Entry, Layout, ModelState
from tests.jobs import make_job
from tests.shared.strategies.site import SIZE, Site

LAYOUT = Layout((Entry("w", (SIZE,)),), SIZE)
rates = st.floats(0.01, 0.2)
counts = st.integers(1, 4)


@given(rates, counts, counts, st.floats(0, 0.9))
def test_fednova_is_equation_11_with_momentum(rate, first, second, momentum):
    sites = [Site.drawn(1, rate, first), Site.drawn(2, rate, second)]
    options, weights = FedNova(name="fednova", server_momentum=momentum), [0.25, 0.75]
    half = options.site(LAYOUT, frozenset())
    sent = {MODEL: np.zeros(SIZE, np.float32), STEPS: np.zeros(1, np.float32)}
    kept = {MOMENTUM: np.zeros(SIZE, np.float32)}
    x, m = np.zeros(SIZE), np.zeros(SIZE)
    for _ in range(3):
        answers = [half.round(site, sent, {})[0] for site in sites]
        mean = {
            key: np.average([one[key] for one in answers], axis=0, weights=weights).astype(np.float32)
            for key in sent
        }
        sent, kept = options.conclude(mean, sent, kept, 1.0)

        changes = []
        for site in sites:
            y = x.copy()
            for _ in range(site.steps):
                y -= rate * site.gradient(y)
            changes.append((y - x) / site.steps)
        steps = np.dot(weights, [site.steps for site in sites])
        m = momentum * m + steps * np.average(changes, axis=0, weights=weights)
        x = x + m
        np.testing.assert_allclose(sent[MODEL], x, rtol=1e-3, atol=1e-4)


def test_fednova_finds_the_common_minimum_where_fedavg_is_drawn_to_the_site_that_steps_more():
    """Section 3 of the paper, in the limit of small steps: the objective is inconsistent."""
    sites = [Site.drawn(1, 0.002, 1), Site.drawn(2, 0.002, 20)]
    stacked = np.concatenate([site.a for site in sites]), np.concatenate([site.b for site in sites])
    minimum = np.linalg.lstsq(*stacked, rcond=None)[0]
    far = {}
    for options in (FedNova(name="fednova"), FedAvg(name="fedavg")):
        half = options.site(LAYOUT, frozenset())
        lengths = {MODEL: SIZE, **options.sends(LAYOUT)}
        sent = {name: np.zeros(length, np.float32) for name, length in lengths.items()}
        kept = {name: np.zeros(length, np.float32) for name, length in options.remembers(LAYOUT).items()}
        for _ in range(1500):
            answers = [half.round(site, sent, {})[0] for site in sites]
            mean = {key: np.mean([one[key] for one in answers], axis=0) for key in sent}
            sent, kept = options.conclude(mean, sent, kept, 1.0)
        far[options.name] = np.abs(sent[MODEL] - minimum).max()
    assert far["fednova"] < 0.05
    assert far["fedavg"] > 0.3


@given(rates, counts)
def test_fedrep_fits_the_head_and_then_the_rest(rate, count):
    site, places = Site.drawn(1, rate, count), np.array([1, 3])
    half, kept = InTurn(places, SIZE), {}
    sent, w, own = {MODEL: np.ones(SIZE, np.float32)}, np.ones(SIZE), np.ones(2)
    rest = np.array([0, 2])
    for _ in range(2):
        answer, kept = half.round(site, sent, kept)
        y = w.copy()
        y[places] = own
        for chosen in (places, rest):
            for _ in range(count):
                y[chosen] -= rate * site.gradient(y)[chosen]
        own, w = y[places], y.copy()
        np.testing.assert_allclose(answer[MODEL], y, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(half.judged(answer, kept)[places], own, rtol=1e-3, atol=1e-4)
        sent = {MODEL: answer[MODEL].copy()}
        sent[MODEL][places] = 7.0  # what the coordinator has there is never looked at


@given(rates, counts, st.floats(0.01, 0.5))
def test_fedsam_steps_by_the_gradient_uphill(rate, count, radius):
    site = Site.drawn(1, rate, count)
    half = FedSAM(name="fedsam", radius=radius).site(LAYOUT, frozenset())
    sent, keep = half.round(site, {MODEL: np.ones(SIZE, np.float32)}, {})
    w = np.ones(SIZE)
    for _ in range(count):
        slope = site.gradient(w)
        w = w - rate * site.gradient(w + radius * slope / np.linalg.norm(slope))
    np.testing.assert_allclose(sent[MODEL], w, rtol=1e-3, atol=1e-4)
    assert not keep


def test_a_site_fine_tunes_in_the_last_rounds_alone_and_sends_nothing_of_it():
    site = Site.drawn(1, 0.1, 2)
    half, kept = FineTune(name="finetune", own_rounds=2).site(LAYOUT, frozenset()), {}
    shared = {MODEL: np.ones(SIZE, np.float32)}
    site.left = 2
    sent, kept = half.round(site, shared, kept)
    np.testing.assert_array_equal(sent[MODEL], site(shared[MODEL]).model)
    assert half.judged(sent, kept) is sent[MODEL]
    own = sent[MODEL]
    for site.left in (1, 0):
        answer, kept = half.round(site, sent, kept)
        own = site(own).model
        assert answer[MODEL] is sent[MODEL]
        np.testing.assert_array_equal(half.judged(sent, kept), own)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_what_is_held_keeps_its_bits_and_the_rest_is_trained(decay: float) -> None:
    job = make_job(task_name="classification", training_optimizer="adamw", training_weight_decay=decay)
    model = build_model(job)
    state, layout = ModelState(model), Layout.of(model)
    before = state.pack()
    free = np.zeros(layout.parameters, bool)
    free[layout.places(last_layers(model, None, "fedper"))] = True
    Trainer(job, model).run(1, Steps(free=free))
    moved = state.pack()[: layout.parameters] != before[: layout.parameters]
    assert moved[free].any()
    assert not moved[~free].any()


def test_the_gradient_uphill_is_that_of_the_point_there() -> None:
    """One step of plain SGD over the whole split, against the minimax written down in PyTorch."""
    plain = {"training_optimizer": "sgd", "training_momentum": 0.0, "training_batch_size": 10}
    steps = {"training_local_epochs": None, "training_local_steps": 1, "training_learning_rate": 0.5}
    job = make_job(task_name="classification", data_augment=[], **plain, **steps)
    model, other = build_model(job), build_model(job)
    trainer = Trainer(job, model)
    batch = trainer.task.prepare(trainer.samples.batch(range(10)), 0)
    trainer.run(1, Steps(radius=0.3))

    def gradients() -> tuple[torch.Tensor, ...]:
        loss = trainer.task.phases()[0].loss({"model": other}, batch).mean()
        return torch.autograd.grad(loss, list(other.parameters()))

    start, slope = [own.detach().clone() for own in other.parameters()], gradients()
    norm = torch.sqrt(sum((one**2).sum() for one in slope))
    with torch.no_grad():
        for own, one in zip(other.parameters(), slope, strict=True):
            own.add_(0.3 * one / norm)
    for own, first, one in zip(model.parameters(), start, gradients(), strict=True):
        torch.testing.assert_close(own, first - 0.5 * one, rtol=1e-4, atol=1e-5)


class Trainer(LocalTraining):
    """Trains on ten images of two classes."""

    def __init__(self, job: JobSpec, model: nn.Module) -> None:
        self.task, self.samples = job.task.build(job), samples_of(job)
        super().__init__(model, self.task, self.samples, job, site="a", device=torch.device("cpu"))


def samples_of(job: JobSpec) -> Samples:
    """Return ten random images, one per patient."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 1, *(job.data.size or []), generator=generator)
    fields = {"image": images, "label": torch.tensor([0, 1] * 5)}
    names = [f"p{number}" for number in range(10)]
    return Samples(job, fields, patients=names, keys=names, spacings=[None] * 10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": ["nowhere"]}, "no part of the network with anything to train is 'nowhere'"),
        ({"layers": ["0", "1"]}, "keeps 0, 1 at the sites, and this job trains nothing else"),
    ],
)
def test_layers_that_are_not_there_or_all_there_is_are_refused(options, words):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(JobError) as caught:
        FedPer(name="fedper", **options).personal(model)
    assert words in caught.value.problem


def test_the_last_layer_is_the_one_that_gives_the_classes() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    assert last_layers(model, None, "fedper") == {"2.weight", "2.bias"}
    normed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    assert {"1.weight", "2.weight", "2.running_var"} <= last_layers(normed, None, "fedper")
    dynunet = {"name": "dynunet", "channels": [4, 8, 8]}
    found = last_layers(build_model(make_job(model=dynunet)), None, "fedper")
    assert found == {"output_block.conv.conv.weight", "output_block.conv.conv.bias"}
    named = last_layers(model, ["1", "2"], "fedper")
    assert {"1.running_mean", "1.weight", "2.weight"} <= named
