"""Several runs asked as one give the mean of their probabilities, and only where the question is the same."""

from pathlib import Path

import pytest
import torch

from client.predict.ensemble import MeanOfProbabilities, joined, rounds_of
from client.predict.run_model import predict_with
from server.runs.folder import RunFolder
from shared.errors import RunError
from shared.finished_run import FinishedRun
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.wire.packed_model import Layout
from tests.jobs import make_job

CPU = torch.device("cpu")


def finished(job: JobSpec, folder: Path) -> FinishedRun:
    """Return a run whose model is the one that its job begins with."""
    model = build_model(job)
    layout = Layout.of(model)
    run = RunFolder.create(folder / f"{job.job.seed}-{job.digest()[:8]}", job)
    run.save_model("model", layout, layout.pack(model), 1)
    run.describe(rounds=1, sites={})
    return FinishedRun.read(run.path)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_the_probabilities_of_several_runs_are_averaged(task: str, tmp_path: Path) -> None:
    runs = [finished(make_job(task_name=task, job_seed=seed), tmp_path) for seed in (1, 2, 3)]
    images = torch.randn(4, 1, 16, 16)
    with torch.no_grad():
        found = joined([(run, "last") for run in runs], CPU).eval()(images).softmax(dim=1)
        expected = [run.model(CPU).eval()(images).softmax(dim=1) for run in runs]
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(found, torch.stack(expected).mean(dim=0))


def test_where_a_sample_may_have_several_classes_each_probability_is_averaged() -> None:
    logits = torch.tensor([[40.0, -2.0], [-40.0, 1.0]])
    members = [_Says(own) for own in logits]
    found = MeanOfProbabilities(members, several=True)(torch.zeros(1, 1)).sigmoid()
    torch.testing.assert_close(found[0], logits.sigmoid().mean(dim=0))


class _Says(torch.nn.Module):
    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self._logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._logits.expand(len(images), -1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task_classes": ["large", "small"]}, "the classes or the columns of"),
        ({"task_name": "segmentation"}, "the classes or the columns of"),
        ({"data_size": [32, 32]}, r"in \[data\], size, differ"),
    ],
)
def test_runs_of_other_questions_are_refused(changes, words: str, tmp_path: Path) -> None:
    first = finished(make_job(task_name="classification"), tmp_path)
    other = finished(make_job(**{"task_name": "classification"} | changes), tmp_path)
    with pytest.raises(RunError, match=words):
        joined([(first, "last"), (other, "last")], CPU)


def test_a_mean_of_something_else_than_probabilities_is_refused(tmp_path: Path) -> None:
    runs = [finished(make_job(task_name="restoration", job_seed=seed), tmp_path) for seed in (1, 2)]
    with pytest.raises(RunError, match="'restoration' gives no probabilities"):
        joined([(run, "last") for run in runs], CPU)


def test_what_looks_into_one_model_is_refused_of_several(tmp_path: Path) -> None:
    run = finished(make_job(task_name="classification"), tmp_path).path
    with pytest.raises(RunError, match="there are several: leave out --with and --rounds"):
        predict_with(run, run, tmp_path / "out", together=[run], explain=["occlusion"])


def test_the_models_of_the_last_rounds_stay_and_are_asked_together(tmp_path: Path) -> None:
    job = make_job(task_name="classification", evaluation={"keep_models": 2})
    model, images = build_model(job), torch.randn(4, 1, 16, 16)
    layout = Layout.of(model)
    run, vectors = RunFolder.create(tmp_path / "run", job), {}
    for round_ in (1, 2, 3):
        vectors[round_] = layout.pack(build_model(job, seed=round_))
        run.keep_model(layout, vectors[round_], round_)
    run.save_model("model", layout, vectors[3], 3)
    run.describe(rounds=3, sites={})
    done = FinishedRun.read(run.path)
    with torch.no_grad():
        found = joined(rounds_of(done, 2), CPU).eval()(images).softmax(dim=1)
        said = []
        for round_ in (2, 3):
            layout.unpack(vectors[round_], model)
            said.append(model.eval()(images).softmax(dim=1))
    torch.testing.assert_close(found, torch.stack(said).mean(dim=0))
    with pytest.raises(RunError, match="has no model of round 1"):
        joined(rounds_of(done, 3), CPU)
