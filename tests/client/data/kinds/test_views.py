"""Several views of a patient: what is read where some are lacking, and what networks make of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from client.data.cache.preprocess import prepare
from client.data.kinds import kinds_of
from client.data.kinds.tally import Tally
from client.data.kinds.views import ViewsKind
from client.data.manifest.rows import Record
from client.training.clipping import PerSampleSum, clip_factors
from shared.batch import Batch
from shared.errors import DataError, JobError
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from tests.jobs import make_job

VIEWS = ["cc", "mlo", "third"]
OPTIONS: dict[str, Any] = {
    "task_name": "classification",
    "task_classes": ["no mass", "mass"],
    "task_stack": {"kind": "views", "views": VIEWS, "features": 4},
    "model": {"encoder": {"name": "cnn", "channels": [4]}, "aggregator": {"name": "joined-views"}},
    "data": {"size": [8, 8], "intensity": "window", "window": [0.0, 255.0], "augment": ["flip", "noise"]},
}


def job_with(aggregator: str, **options: Any) -> JobSpec:
    return make_job(**OPTIONS | {"model": OPTIONS["model"] | {"aggregator": {"name": aggregator, **options}}})


def row(folder: Path, *there: str) -> Record:
    """Return a row with pictures of these views, each of another brightness."""
    for number, view in enumerate(VIEWS, 1):
        Image.fromarray(np.full((8, 8), 50 * number, np.uint8)).save(folder / f"{view}.png")
    cells = {view: f"{view}.png" if view in there else "" for view in VIEWS}
    return Record(2, "p", (), cells=cells, folder=folder)


def kind_of(job: JobSpec) -> ViewsKind:
    kind = kinds_of(job)["views"]
    assert isinstance(kind, ViewsKind)
    return kind


def test_a_view_that_is_lacking_is_no_number_and_stays_so(tmp_path: Path) -> None:
    job = make_job(**OPTIONS)
    kind, record = kind_of(job), row(tmp_path, "cc", "third")
    value = prepare(record, {"views": kind}, job.data).values["views"]
    assert value.shape == (3, 1, 8, 8)
    assert value[[0, 2]].mean(axis=(1, 2, 3)) == pytest.approx([50 / 255, 150 / 255])
    assert np.isnan(value[1]).all()
    moved = kind.move(torch.from_numpy(value), [])
    shaded = [kind.shade(moved, ["noise"], np.random.default_rng(seed)) for seed in range(9)]
    for own in shaded:
        assert torch.equal(own.isnan().flatten(1).any(1), torch.tensor([False, True, False]))
    assert any(not torch.equal(own[0], moved[0]) for own in shaded)
    assert [one.file for one in kind.instances(record)] == VIEWS
    tally = Tally()
    kind.tally(value, tally)
    assert tally.missing["mlo"] == 1
    assert kind.source(record) != kind.source(row(tmp_path, "cc", "mlo"))
    with pytest.raises(DataError, match="no image in any of the columns cc, mlo, third"):
        prepare(row(tmp_path), {"views": kind}, job.data)


def batch_of(count: int, lacking: int = 1) -> Batch:
    """Return patients with views of noise, of whom the first lacks one."""
    views = torch.rand(count, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    views[0, lacking] = torch.nan
    return Batch({"views": list(views), "label": torch.arange(count) % 2}, [f"p{n}" for n in range(count)])


def logits(job: JobSpec, batch: Batch) -> Tensor:
    task, models = make_task(job), models_of(build_model(job, seed=1))
    return task.predict(models, task.prepare(batch, 0))["logits"]


@pytest.mark.parametrize(
    "name", ["joined-views", "mean-pooling", "max-pooling", "attention-mil", "transformer"]
)
def test_networks_see_the_views_that_there_are(name: str) -> None:
    job, batch = job_with(name), batch_of(4)
    found = logits(job, batch)
    assert bool(found.isfinite().all())
    if name != "max-pooling":
        assert not torch.allclose(found[0], logits(job, batch_of(4, lacking=2))[0])
    turned = batch.plus(views=[own.roll(1, 0) for own in batch["views"]])
    has_places = name in ("joined-views", "transformer")
    assert torch.allclose(logits(job, turned)[1:], found[1:], atol=1e-5) != has_places


def test_left_out_views_become_tokens_that_learn_and_one_stays() -> None:
    job = job_with("joined-views", drop_view=0.5)
    model = models_of(build_model(job, seed=1))["aggregator"]
    for token in model.tokens:
        token.weight.data.fill_(100.0)
    there = torch.ones(200, 3, dtype=torch.bool)
    there[:, 0] = False
    with torch.no_grad():
        kept = []
        model.joined.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        model(torch.zeros(200, 3, 4), there)
    lacking = (kept[0].view(200, 3, 4) == 100).all(2)
    assert bool(lacking[:, 0].all())
    assert int((~lacking).sum(1).min()) == 1
    assert 0 < int((lacking.sum(1) == 1).sum()) < 200


def test_each_patient_is_clipped_by_their_own_gradient() -> None:
    private = {"privacy": {"mechanism": "dp-sgd", "noise_multiplier": 1.0, "delta": 1e-5}}
    job = make_job(**OPTIONS | private, strategy_weight="equal", training_optimizer="sgd")
    task, network, batch = make_task(job), build_model(job), batch_of(3)
    models = models_of(network)
    parameters = list(network.parameters())
    alone = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in task.losses(models, batch)
    ]
    full = [
        [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, own, strict=True)]
        for own in alone
    ]
    norms = torch.stack([torch.cat([own.flatten() for own in found]).norm() for found in full])
    most = float(norms.mean())
    clipped = PerSampleSum(network, lambda some: task.losses(models, some), most, task.targets)
    clipped.add(batch, torch.arange(3))
    factors = clip_factors(norms, most)
    for total, *own in zip(clipped.take(), *full, strict=True):
        expected = torch.stack([factor * part for factor, part in zip(factors, own, strict=True)]).sum(0)
        torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-4)
    clipped.close()


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ({"kind": "views", "features": 4}, "views: are needed for kind = 'views'"),
        ({"kind": "tiles", "views": VIEWS, "features": 4}, "and only there"),
        ({"kind": "views", "views": ["cc", "cc"], "features": 4}, "a name appears twice"),
        ({"kind": "views", "views": VIEWS}, "features: is missing"),
        ({"kind": "views", "views": VIEWS, "features": 4, "column": "cc"}, "say it in views"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(stack: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        make_job(**OPTIONS | {"task_stack": stack})
    with pytest.raises(JobError, match=r"'clam' is not for classification of 3 views, vectors"):
        job_with("clam")
