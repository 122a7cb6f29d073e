"""Survival of an image beside a table, from end to end: checked, trained, judged as if pooled."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.data.manifest.splits import CohortKey, Split
from client.data.samples.batches import Samples
from client.data.samples.site_data import SiteData
from client.work.warm_networks import Workshop, evaluate
from server.runs.folder import RunFolder
from shared.errors import JobError
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec
from shared.networks.build import build_model, models_of
from shared.tasks import make_task
from simulate.data.phantom import make_phantom
from simulate.session.session import Hospitals, start
from tests.client.training.test_private_training import private_job, train
from tests.jobs import job_text, make_job
from tests.simulate.session.test_resume import run_to_the_end

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
CPU = torch.device("cpu")
SITES = ("north", "south", "east")
OPTIONS: dict[str, Any] = {
    "job_dataset": "phantom-survival-images",
    "task_name": "survival",
    "task_columns": ["age"],
    "task_intervals": None,
    "task_horizon": 48.0,
    "task_interval_count": 3,
    "task_image": True,
    "data": {"size": [32, 32]},
    "model": {
        "image": {"name": "cnn", "channels": [8, 16], "norm": "group"},
        "record": {"name": "mlp", "hidden": []},
        "fusion": {"name": "concat"},
    },
    "training_batch_size": 16,
    "evaluation": {"select_best": "concordance"},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom("phantom-survival-images", tmp_path_factory.mktemp("phantom"), 1)


def site_files(manifest: Path, folder: Path) -> list[Path]:
    """Return files of hospitals that bound nothing, so that figures are exact."""
    files = []
    for site in SITES:
        file = folder / site / "site.toml"
        file.parent.mkdir(parents=True)
        file.write_text(
            f"""
[site]
name = "{site}"

[datasets.phantom-survival-images]
manifest = "{manifest}"
site = "{site}"

[policy]
min_group = 1
min_patients_in_update = 1
share_site_metrics = true
"""
        )
        files.append(file)
    return files


def run_of(spec: JobSpec, out: Path, hospitals: Hospitals) -> Path:
    run = start(spec, hospitals, out / "runs", "cpu", baselines=False)
    run_to_the_end(run.path, spec, resume=False, moment=None)
    return run.path


@pytest.mark.parametrize("secure", [False, True])
def test_the_federation_judges_as_if_the_patients_were_pooled(
    manifest: Path, tmp_path: Path, *, secure: bool
) -> None:
    spec = make_job(**OPTIONS, job_rounds=1, privacy_secure_aggregation=secure)
    path = run_of(spec, tmp_path, Hospitals(files=site_files(manifest, tmp_path)))
    run = FinishedRun.read(path)
    bench = Workshop(CPU).bench(spec.canonical()).knowing(run.statistics)
    bench.model.load_state_dict(run.model(CPU).state_dict())
    split = Split(CohortKey.drawn(spec.job.seed))
    everyone = SiteData.load(manifest, spec, site="all", split=split).split("test")
    pooled = evaluate(bench, everyone).whole.compute()
    judged = RunFolder.read(path).read_description()["test"]["federation"]
    assert judged["loss"] == pytest.approx(pooled["loss"], abs=1e-6)
    assert judged["integrated_brier"] == pytest.approx(pooled["integrated_brier"], abs=1e-6)


def test_checks_look_at_the_image_and_the_table(cli: Any, manifest: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(job_text(**OPTIONS))
    said = cli("job", "check", job)
    assert said.code == 0, said.err
    said = cli("data", "check", manifest, "--job", job)
    assert said.code == 0, said.err
    assert "220 images" in said.out
    assert "48x48" in said.out
    assert "observed" in said.out
    cut = tmp_path / "data"
    shutil.copytree(manifest.parent, cut)
    (cut / "images" / "north" / "north-001.png").unlink()
    rows = (cut / "manifest.csv").read_text().splitlines()
    rows[2] = rows[2].rpartition(",")[0] + ",maybe"
    (cut / "manifest.csv").write_text("\n".join(rows))
    said = cli("data", "check", cut, "--job", job)
    assert said.code == 2
    assert "north-001.png" in said.out + said.err
    assert "maybe" in said.out + said.err


def test_private_training_bounds_the_gradient_through_all_networks(tiny_job: Any) -> None:
    """What two patients change is the mean of their gradients, each clipped over image and table together."""
    bound = 0.05
    job = private_job(
        tiny_job,
        "survival",
        task_image=True,
        task_intervals=[1.0, 3.0],
        task_scaling={"age": [60.0, 10.0], "grade": [2.0, 0.5]},
        data={"size": [16, 16]},
        model_norm=None,
        model=OPTIONS["model"],
        privacy_max_grad_norm=bound,
    )
    columns = {
        "image": torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)),
        "record": torch.tensor([[70.0, 2.5], [40.0, float("nan")]]),
        "event": torch.tensor([[2.0, 1.0], [1.5, 0.0]]),
    }
    names = ["ann", "ben"]
    samples = Samples(job, columns, patients=names, keys=names, spacings=[None, None])
    task, model = make_task(job), build_model(job, seed=1)
    expected = torch.zeros(())
    for index in range(2):
        batch = task.prepare(samples.batch(np.array([index])), 0)
        model.zero_grad()
        task.phases()[0].loss(models_of(model), batch).sum().backward()
        gradient = torch.cat([value.grad.flatten() for value in model.parameters()])
        assert gradient.norm() > bound
        expected = expected - gradient * bound / gradient.norm() / 2
    torch.testing.assert_close(train(job, samples), expected, rtol=1e-3, atol=1e-5)


def test_private_training_of_both_needs_public_figures(tiny_job: Any) -> None:
    private = {"privacy_mechanism": "dp-sgd", "privacy_epsilon": 8.0, "training_batch_size": 16}
    with pytest.raises(JobError, match=r"give \[task\] scaling"):
        make_job(**OPTIONS | private)
    public = {"task_horizon": None, "task_intervals": [12.0, 48.0], "task_scaling": {"age": [60.0, 12.0]}}
    make_job(**OPTIONS | private | public)
