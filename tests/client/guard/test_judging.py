"""A job of no rounds: one model, known by its digest, is judged on the test patients, and nothing else."""

import numpy as np
import pytest

from client.guard.approval_text import ApprovalText
from client.guard.looks import looks_before
from client.guard.unusual_settings import unusual
from shared.audit.verify import entries
from shared.errors import JobError
from shared.networks.build import build_model
from shared.networks.start_weights import digest_of, match
from shared.wire import messages
from shared.wire.packed_model import Layout
from tests.jobs import marks_job

AUTOMATIC = 'approval = "automatic"\nshare_site_metrics = true\n'


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


def test_a_job_of_another_name_has_the_same_noise(make_site, given):
    """With fresh noise for each, the mean over many names would be the sums themselves."""
    site, (job, model) = make_site(f"{AUTOMATIC}min_group = 5\n", opened=False), given
    told = [answer(site, named(job, number), model) for number in range(3)]
    told += [answer(site, changed(job, "strategy", min_sites=2), model)]
    assert len(set(told)) == 1
    assert told[0] != answer(site, changed(job, "job", seed=7), model)
    assert site.book.served.looks(site.site.config.dataset("marks").collection) == 2


def test_without_a_person_few_models_are_judged_over_all_jobs(make_site, given):
    site, (job, model) = make_site(f"{AUTOMATIC}max_judged_models = 2\n", opened=False), given
    looks = [changed(job, "job", seed=seed) for seed in range(4)]
    said = [site.evaluate(look, 0, "test", vector=model) for look in looks]
    assert said[:2] == ["", ""]
    assert all("policy.max_judged_models: 2 models were judged" in refused for refused in said[2:])
    site.restart()
    assert site.evaluate(named(looks[0], 1), 0, "test", vector=model) == ""  # no further look
    assert "max_judged_models" in site.evaluate(looks[2], 0, "test", vector=model)
    site.approve(looks[2])
    assert site.evaluate(looks[2], 0, "test", vector=model) == ""
    assert "max_judged_models" in site.evaluate(looks[3], 0, "test", vector=model)


def test_by_default_a_made_model_is_not_judged_for_ever(make_site, given):
    site, (job, model) = make_site(AUTOMATIC, opened=False), given
    said = [site.evaluate(changed(job, "job", seed=seed), 0, "test", vector=model) for seed in range(13)]
    assert [not refused for refused in said] == [True] * 10 + [False] * 3


def test_whoever_approves_reads_of_judging_and_of_looks_before(make_site, given):
    site, (job, model) = make_site('approval = "manual"\n'), given
    site.approve(job)
    assert site.evaluate(job, 0, "test", vector=model) == ""
    config = site.site.config
    assert looks_before(site.book.served, config, job) == 1
    hasty = changed(job, "training", batch_size=1, local_steps=1)
    assert unusual(hasty) == []
    assert unusual(hasty, 1) == [
        "One model was judged on this dataset before: each look tells a little more of its test patients."
    ]
    site.describe(hasty)
    text = ApprovalText.of(site.book.find(hasty.digest()), config, 0, "", 3)
    assert text.unusual[0].startswith("3 models were judged on this dataset before")
    assert not any("step" in said for said in text.unusual)


def named(job, number):
    """Return a job that asks the same under another name."""
    return changed(job, "job", name=f"ward-{number}")


def changed(job, table, **values):
    return job.model_copy(update={table: getattr(job, table).model_copy(update=values)})


def answer(site, job, model):
    """Return what a site tells of a model, as bytes."""
    reply = site.send("evaluate", job, 0, "test", vector=model)
    assert not reply.has_error(), reply.error.reason
    return messages.read_evaluation(reply.content).states.tobytes()


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
