"""On a GPU (that of `tests/elsewhere.py`) every task is trained, judged, asked and explained."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from client.explain.explainer import Explainer
from client.explain.methods import METHODS
from client.labelling.ranking import By
from client.labelling.run import list_with
from client.predict.answering import Predictor
from client.predict.run_model import predict_with
from client.retrieve.run import retrieve_with
from client.settings.site import DatasetTable, SiteConfig, SiteTable
from client.training.device import open_device
from client.work.hospital import Site
from client.work.run_store import RunStore
from client.work.warm_networks import Workshop
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.networks import NETWORKS
from shared.networks.aggregator_modules import OUTPUT
from shared.networks.build import build_model
from shared.run_folder import status_of
from shared.strategies import STRATEGIES
from shared.tasks import TASKS
from shared.tasks.base import Task
from shared.tasks.fields import fields_of, given_fields_of
from shared.tasks.stacks import padded
from shared.wire.messages import Request
from simulate.session.judging import judge
from simulate.session.session import Hospitals, execute, start
from simulate.session.setup import OPEN_POLICY
from tests.elsewhere import a_gpu
from tests.every_task import write_for_every_task
from tests.jobs import IMAGE_NETWORKS, make_job
from tests.shared.networks.test_aggregators import AGGREGATORS, bags, network
from tests.shared.networks.test_models import images_for, small_job

pytestmark = [
    pytest.mark.filterwarnings("ignore:Full backward hook"),
    pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN"),
]


@dataclass(frozen=True)
class Worked:
    """What a hospital sends of a round, and the numbers that are said of its images."""

    update: NDArray[np.float32]
    judged: NDArray[np.float64]
    said: list[dict[str, float]]


def work(job: JobSpec, manifest: Path, kept: Path, device: str = "auto", *, ask: bool = True) -> Worked:
    """Do a round at a hospital, and if asked with the model what a rehearsal and `wardround predict` do."""
    config = SiteConfig(
        site=SiteTable(name="alpha", coordinator=None),
        datasets={job.job.dataset: DatasetTable(manifest=manifest, site="alpha")},
        policy=OPEN_POLICY,
    )
    workshop = Workshop(open_device(device))
    site = Site(config, workshop, gate=None, store=RunStore(kept))
    bench = workshop.bench(job.canonical())
    first, layout = bench.wire.first(bench.state.pack()), bench.wire.layout.digest()
    sums = tuple(site.statistics(job).tolist()) if job.task.statistics() else ()
    asked = Request(job.canonical(), 1, layout, first, "", None, "run", statistics=sums)
    update = site.train(asked).vector
    asked = replace(asked, vector=update, split="test")
    judged = site.evaluate(asked).states
    if not ask:
        return Worked(update, judged, [])
    judge(site, asked)
    return Worked(update, judged, _said(site, asked))


def _said(site: Site, asked: Request) -> list[dict[str, float]]:
    """Ask the model about the test's images, and why it says so, where it can say it."""
    bench = site.judging(asked)
    task, samples = bench.task, site.data(bench.job).split("test")
    assert (task.draw(bench.models, 2, 0) is None) == (type(task).draw is Task.draw)
    if type(task).answers is Task.answers or given_fields_of(bench.job) != fields_of(bench.job):
        return []  # the second: what predict is given, k-space, the test of a training has not
    predictor = Predictor(bench.job, task, bench.models)
    batch, predicted = next(predictor.run(samples))
    if task.explained(predicted):
        others = {"image": list(batch["image"].cpu())} if "image" in batch else {}
        methods = [name for name in METHODS if name not in UNSEEN]
        predictor = replace(predictor, explainer=Explainer(methods, others=others))
        batch, predicted = batch.chosen([0]), {name: value[:1] for name, value in predicted.items()}
    answers = predictor.answers_of(batch, predicted)
    return [
        {name: cell for name, cell in own.cells.items() if isinstance(cell, int | float)} for own in answers
    ]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hospital(tmp_path_factory.mktemp("every") / "data")


def write_hospital(folder: Path) -> Path:
    """Write a hospital that has all that a task may ask for; return the manifest.

    In `few.csv` beside it labels and masks of some images are not known.
    """
    path = write_for_every_task(folder, ("alpha",), patients=6)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    every = [{**row, "field": rows[0]["mask"], "points": "[[3.0, 4.0]]"} for row in rows]
    unknown = {"label": "", "mask": ""}
    few = [
        row | (unknown if place % 2 and row["split"] == "train" else {}) for place, row in enumerate(every)
    ]
    for name, found in (("manifest.csv", every), ("few.csv", few)):
        with path.with_name(name).open("w", newline="") as file:
            writer = csv.DictWriter(file, found[0])
            writer.writeheader()
            writer.writerows(found)
    return path


UNSEEN = ("attention", "occlusion")  # few networks have the one; MONAI makes tensors of its own for the other
ONCE = {
    "training_local_epochs": None,
    "training_local_steps": 1,
    "training_optimizer": "sgd",  # Adam makes large steps of gradients that are rounding errors
}
# With all that is judged, and what else a task may be asked for.
OF_TASK: dict[str, dict[str, Any]] = {
    "classification": {
        "evaluation_metrics": [{"name": name} for name in ("brier", "robust_accuracy", "feature_moments")],
    },
    "segmentation": {
        "task_distances": True,
        "task_voxel_metrics": True,
        "task_region": "field",
        "task_keep_largest": ["disc"],
        "evaluation_metrics": [{"name": "volume_error"}],
    },
    "registration": {
        "task_classes": ["disc"],
        "task_distances": True,
        "task_overlap": 1.0,
        "task_points": True,
    },
}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_is_on_a_gpu_what_it_is_here(task: str, manifest: Path, tmp_path: Path) -> None:
    job = make_job(task_name=task, **ONCE | OF_TASK.get(task, {}))
    here = work(job, manifest, tmp_path / "here", "cpu")
    with a_gpu():
        there = work(job, manifest, tmp_path / "there")
    np.testing.assert_allclose(there.update, here.update, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there.judged, here.judged, rtol=1e-4, atol=1e-4)
    for own, other in zip(there.said, here.said, strict=True):
        assert own == pytest.approx(other, rel=1e-3, abs=1e-3, nan_ok=True)


PRIVATE = {
    "privacy_mechanism": "dp-sgd",
    "privacy_noise_multiplier": 1.0,
    "strategy_weight": "equal",
}
# What a task needs for it.
PRIVATELY: dict[str, dict[str, Any]] = {
    "segmentation": {"model_norm": "group"},
    "classification": {"model_norm": "group", "training_adversarial": {"epsilon": 0.1}},
    "survival": {"task_scaling": {"age": [60.0, 12.0], "grade": [2.0, 0.8]}},
    "generation": {"task_penalty": 0.0},
    "regression": {"task_scaling": {"age": [60.0, 12.0]}},
}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_that_is_trained_privately_is_so_on_a_gpu(
    task: str, manifest: Path, tmp_path: Path
) -> None:
    try:
        job = make_job(task_name=task, **ONCE | PRIVATE | PRIVATELY.get(task, {}))
    except JobError:
        return  # it says why, which other tests look at
    with a_gpu():
        found = work(job, manifest, tmp_path, ask=False)
    assert np.isfinite(found.update).all()


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_trains_on_a_gpu(strategy: str, manifest: Path, tmp_path: Path) -> None:
    job = make_job(strategy_name=strategy, **ONCE)
    with a_gpu():
        found = work(job, manifest, tmp_path, ask=False)
    assert np.isfinite(found.update).all()


CNN = {"name": "cnn", "channels": [4, 8]}
OTHERWISE: dict[str, dict[str, Any]] = {
    "adversarial training": {"training_adversarial": {"epsilon": 0.1, "steps": 2}},
    "mixup": {"task_mixup": 0.4},
    "a mean teacher": {"task_unlabelled": {"method": "mean-teacher"}},
    "FixMatch": {"task_unlabelled": {"method": "fixmatch"}},
    "a mean teacher of pixels": {"task_name": "segmentation", "task_unlabelled": {"method": "mean-teacher"}},
    "weights of classes": {"task_loss": "balanced-softmax"},
    "bfloat16": {"training_precision": "bfloat16"},
    "an optimiser that is kept": {"training_optimizer": "adamw", "training_keep_optimizer": True},
    "clipped gradients": {"training_gradient_clip": 0.1},
    "adapters": {"model_lora": {"rank": 2}},
    "augmentation": {"data_augment": ["flip", "rotate90", "intensity", "noise", "elastic"]},
    "bags": {
        "task_stack": {"kind": "tiles", "column": "image", "features": 8},
        "model": {"encoder": CNN, "aggregator": {"name": "attention-mil", "attention": 4}},
    },
    "series": {
        "task_stack": {"kind": "series", "column": "image", "features": 8},
        "model": {"encoder": CNN, "aggregator": {"name": "gru", "features": 8}},
    },
    "records": {
        "task_columns": ["age", "grade"],
        "task_image": False,
        "model": {"name": "mlp", "hidden": [4]},
        "data": {},
    },
    "images and records": {
        "task_name": "survival",
        "task_image": True,
        "model": {
            "image": CNN,
            "record": {"name": "mlp", "hidden": [4], "dropout": 0.5},
            "fusion": {"name": "concat", "drop_input": 0.2},
        },
        "data_size": [16, 16],
    },
    "Cox": {"task_name": "survival", "task_loss": "cox", "task_intervals": None},
    "DeepHit": {"task_name": "survival", "task_loss": "deephit", "task_ranking": 0.2},
    "anchors": {
        "task_name": "detection",
        "task_method": "anchors",
        "model": {"name": "retinanet", "channels": [4, 8]},
    },
    "patches": {"task_name": "segmentation", "data_size": None, "data_patch": [8, 8]},
    "lines of tubes": {"task_name": "segmentation", "task_loss": "cldice-ce"},
    "distances to a border": {"task_name": "segmentation", "task_loss": "boundary"},
    "one matrix": {
        "task_name": "registration",
        "task_transform": "affine",
        "task_similarity": "mutual-information",
        "model": CNN,
    },
    "local correlation": {"task_name": "registration", "task_similarity": "lncc", "task_stride": 2},
    "private, of large networks": PRIVATE
    | {"model": {"name": "resnet18", "norm": "group"}, "data_size": [32, 32]},
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_what_else_a_job_may_ask_for_is_done_on_a_gpu(how: str, manifest: Path, tmp_path: Path) -> None:
    job = make_job(**{"task_name": "classification"} | ONCE | OTHERWISE[how])
    path = manifest.with_name("few.csv") if "task_unlabelled" in OTHERWISE[how] else manifest
    with a_gpu():
        found = work(job, path, tmp_path, ask=False)
    assert np.isfinite(found.update).all()


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_every_network_of_images_learns_on_a_gpu(name: str) -> None:
    job = small_job(name, min(NETWORKS[name].dimensions & {2, 3}))
    model, images = build_model(job, seed=1), images_for(job)
    with a_gpu() as gpu:
        model.to(gpu)(images.to(gpu)).square().sum().backward()
        assert all(one.grad is None or one.grad.is_cuda for one in model.parameters())


@pytest.mark.parametrize(("name", "kind"), AGGREGATORS)
def test_every_network_of_bags_learns_on_a_gpu(name: str, kind: str) -> None:
    model = network(name, kind)
    with a_gpu() as gpu:
        found = model.to(gpu)(*padded([bag.to(gpu) for bag in bags(3, 7, 1)]))
        found[OUTPUT].square().sum().backward()
        assert all(one.grad is None or one.grad.is_cuda for one in model.parameters())


def test_a_finished_run_is_asked_on_a_gpu(manifest: Path, tmp_path: Path) -> None:
    """What is unusual, what is alike, what to label next; and before it a simulation with baselines."""
    job = make_job(
        task_name="classification",
        job_rounds=1,
        strategy_min_sites=2,
        model_dropout=0.3,
        evaluation_metrics=[{"name": "feature_moments"}],
    )
    data, few = manifest.parent, manifest.with_name("few.csv")
    with a_gpu():
        hospitals = Hospitals(data=data, count=2)
        run = start(job, hospitals, tmp_path, "auto", baselines=True)
        execute(run, "in-process", Console(quiet=True))
        assert status_of(run.path) == "finished"
        for name, usual in (("usual", data), ("run", None)):
            told = predict_with(run.path, data, tmp_path / name, usual=usual)
            assert not told.problems
            assert "unusual" in (tmp_path / name / "predictions.csv").read_text().splitlines()[0]
        assert retrieve_with(run.path, data, data, tmp_path / "alike").queries
        for by in get_args(By):
            assert list_with(run.path, few, tmp_path / by, by=by).listed
