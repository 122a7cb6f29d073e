"""A job of no rounds: one model, known by its digest, is judged on the test patients, and nothing else."""

import numpy as np
import pytest

from shared.audit.verify import entries
from shared.errors import JobError
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of, match
from shared.wire.packed_model import Layout
from tests.jobs import marks_job


@pytest.fixture
def given():
    """Return the job that judges a model, and the model."""
    network = build_model(marks_job(job_seed=9))
    digest = digest_of(match(network, network.state_dict()).taken)
    return marks_job(job_rounds=0, model_start="given", model_start_sha256=digest), Layout.of(network).pack(
        network
    )


def test_a_site_judges_that_model_alone_on_its_test_patients(make_site, given):
    site, (job, model) = make_site('approval = "manual"\n'), given
    assert "waits until the hospital approves" in site.evaluate(job, 0, "test", vector=model)
    site.approve(job)
    other = np.where(np.arange(model.size) < 9, model + 1, model).astype(np.float32)
    assert "has not the weights of [model] start_sha256" in site.evaluate(job, 0, "test", vector=other)
    assert "judged on the test patients, and nothing else" in site.train(job, 1, vector=model)
    assert "and nothing else" in site.train(job, 0, vector=model)
    assert "and nothing else" in site.evaluate(job, 0, "val", vector=model)
    assert "and nothing else" in site.evaluate(job, 1, "test", vector=model)
    answers = [site.evaluate(job, 0, "test", vector=model) for _ in range(3)]
    assert answers[:2] == ["", ""]
    assert "was answered 2 times" in answers[2]
    sent = [entry for entry in entries(site.folder / "audit") if entry.event == "reply-sent"]
    assert [entry.fields["phase"] for entry in sent] == ["evaluate", "evaluate"]


def test_the_policy_counts_it_and_keeps_small_groups(make_site, given):
    site, (job, model) = make_site('approval = "automatic"\nevaluations_per_day = 1\n'), given
    assert site.evaluate(job, 0, "test", vector=model) == ""
    assert "policy.evaluations_per_day" in site.evaluate(job, 0, "test", vector=model)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model_start": None, "model_start_sha256": None}, "start_sha256: is missing"),
        ({"model_fresh": ["head"]}, "fresh: nothing is trained"),
        ({"strategy_name": "fedprox"}, "must be 'fedavg'"),
        ({"evaluation_select_best": "loss"}, "no rounds to choose from"),
        ({"update_precision": "float16"}, "no model is sent"),
        ({"task_class_weights": "federation"}, "needs sums of training patients"),
    ],
)
def test_a_job_that_judges_says_nothing_of_a_training(given, options, says):
    with pytest.raises(JobError, match=says):
        marks_job(**{"job_rounds": 0, "model_start": "given", "model_start_sha256": "0" * 64, **options})
