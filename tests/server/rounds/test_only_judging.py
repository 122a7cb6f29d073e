"""A site with too few training patients: it judges the models of the others, and trains none."""

import csv
from pathlib import Path

import numpy as np
import pytest

from client.work.warm_networks import evaluate
from shared.errors import RunError
from tests.conftest import write_dataset
from tests.server.conftest import make_sites

TRAINERS = ["beta", "delta", "gamma"]
FIRST = 10  # node of alpha


def rows(federated, phase: str) -> list[str]:
    with (federated.run.path / "sites.csv").open(newline="") as file:
        return [row["site"] for row in csv.DictReader(file) if row["phase"] == phase]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return the manifest of four hospitals; alpha has no training patients."""
    path = write_dataset(tmp_path / "data", patients=20)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not (line.startswith("alpha,") and ",train" in line)))
    return path


def test_a_site_without_training_patients_judges_every_model_and_changes_none(
    tiny_job, federate, manifest, tmp_path
):
    job = tiny_job(job_rounds=2)
    federated = federate(job, manifest=manifest)
    result = federated.loop.execute()
    assert federated.failures() == []
    assert rows(federated, "train") == TRAINERS * 2
    assert rows(federated, "val") == ["alpha", *TRAINERS] * 2
    told = federated.run.read_description()
    assert told["only_judging"] == {"alpha": "no training patients, the job asks for 1"}
    assert told["left_out"] == {}
    assert sorted(told["test"]["sites"]) == ["alpha", *TRAINERS]

    pooled = federated.loop.task.metrics()
    bench = federated.grid.sites[0]._workshop.bench(job.canonical())
    bench.state.unpack(result.vector)
    for site in make_sites(manifest, ["alpha", *TRAINERS], tmp_path / "alone"):
        pooled.merge(evaluate(bench, site.data(job).split("test")).pack())
    assert result.test.federation == pytest.approx(pooled.compute(), abs=1e-6, nan_ok=True)


def test_the_model_is_that_of_the_trainers_whether_or_not_another_judges(tiny_job, federate, manifest):
    job = tiny_job(job_rounds=2, evaluation_select_best=None, strategy_fraction=0.6, strategy_min_sites=2)
    judged = federate(job, manifest=manifest)
    vector = judged.loop.execute().vector
    alone = federate(job, manifest=manifest)
    alone.grid.changes[FIRST] = lambda question, answer: []
    assert np.array_equal(alone.loop.execute().vector, vector)
    assert rows(judged, "val").count("alpha") == 2  # it is not drawn: it judges every round


def test_a_site_below_min_patients_judges_and_too_few_trainers_begin_nothing(tiny_job, federate, manifest):
    federated = federate(tiny_job(strategy_min_sites=4), manifest=manifest)
    with pytest.raises(
        RunError, match="3 sites can train, the job needs 4; alpha: no training patients, the job asks for 1"
    ):
        federated.loop.execute()
    assert not federated.run.has_begun()


def test_one_with_a_gate_judges_too_and_its_log_has_no_training(tiny_job, logged, manifest):
    federated, log = logged(tiny_job(job_rounds=2), manifest=manifest)
    federated.loop.execute()
    assert federated.failures() == []
    sent = [(entry["phase"], entry["round"]) for entry in log() if entry["event"] == "reply-sent"]
    assert sent[:3] == [("describe", 0), ("evaluate", 1), ("evaluate", 2)]
    assert [phase for phase, _ in sent[3:]] == ["evaluate"]


def test_under_secure_aggregation_it_is_in_the_sums_of_metrics_alone(tiny_job, federate, manifest):
    federated = federate(tiny_job(job_rounds=1, privacy_secure_aggregation=True), manifest=manifest)
    federated.loop.execute()
    assert federated.failures() == []
    assert rows(federated, "train") == TRAINERS
    assert rows(federated, "val") == ["alpha", *TRAINERS]


def test_of_a_private_run_it_is_told_that_nobody_was_trained_on(tiny_job, federate, manifest):
    job = tiny_job(
        job_rounds=1,
        strategy_weight="equal",
        evaluation_select_best=None,
        privacy_mechanism="dp-sgd",
        privacy_noise_multiplier=1.0,
    )
    federated = federate(job, manifest=manifest)
    for site in federated.grid.sites:
        policy = site.config.policy.model_copy(update={"share_private_metrics": True})
        site.config = site.config.model_copy(update={"policy": policy})
    federated.loop.execute()
    told = federated.run.read_description()
    assert told["sites"]["alpha"]["examples"] == {"train": 0, "val": 1, "test": 1}  # its counts stay
    words = told["guarantee"]["sites"]["alpha"]["words"]
    assert words.startswith("its patients were not trained on")
    assert "metrics on them are known" in words
    assert "loses at most" in told["guarantee"]["sites"]["beta"]["words"]
