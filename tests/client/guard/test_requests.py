"""What an approval bounds: the job's own rounds, each request twice, one model per round, its own epsilon."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.guard.gate import Visit
from client.guard.ledger import LEDGER, Ledger
from client.guard.request_rules import check_request
from client.guard.served_requests import MOST_DESCRIPTIONS, Asked, Carried, Served
from client.settings.policy import PolicyError
from shared.audit.log import AuditLog
from shared.audit.verify import entries
from shared.errors import SiteError
from shared.networks.build import build_model
from shared.pki.certificates import load_key
from shared.privacy.accounting import epsilon_of
from shared.wire import messages
from shared.wire.packed_model import Layout

APPROVE = "wardround client approve"


def first_of(job):
    network = build_model(job)
    return Layout.of(network).pack(network)


def served(answers):
    return [number for number, answer in enumerate(answers) if answer == ""]


def test_a_job_has_its_rounds_and_no_others(make_site, job_of):
    site, job = make_site('approval = "manual"\n'), job_of(job_rounds=2)
    site.approve(job)
    assert served(site.train(job, round_) for round_ in range(41)) == [1, 2]
    assert "job.rounds: the job has rounds 1 to 2" in site.train(job, 10**9)
    assert served(site.evaluate(job, round_) for round_ in range(41)) == [1, 2]
    refused = [entry for entry in entries(site.folder / "audit") if entry.event == "request-refused"]
    assert {entry.fields["rule"] for entry in refused} == {"job.rounds"}


def test_a_job_that_leaves_the_test_closed_is_told_nothing_of_its_patients(make_site, job_of):
    site, job = make_site(), job_of(evaluation_test=False)
    assert site.evaluate(job, split="val") == ""
    assert "evaluation.test: the job leaves the test patients alone" in site.evaluate(job, split="test")
    for phase in ("secagg-keys", "secagg-shares"):  # nor behind masks
        check_request(job, phase, 1, "val", "north")
        with pytest.raises(PolicyError, match="leaves the test patients alone"):
            check_request(job, phase, 1, "test", "north")


@pytest.mark.parametrize("restarts", [False, True])
def test_each_request_is_answered_once_and_once_more(make_site, job_of, restarts):
    site, job = make_site(), job_of()
    for ask in (site.train, site.evaluate, lambda job: site.evaluate(job, split="test")):
        answers = []
        for _ in range(6):
            answers.append(ask(job))
            if restarts:
                site.restart()
        assert served(answers) == [0, 1]
        assert "was answered 2 times" in answers[-1]
    answers = [site.describe(job) for _ in range(40)]
    assert served(answers) == list(range(MOST_DESCRIPTIONS))
    assert "10 times today" in answers[-1]  # a run that is broken off again and again: what can be done
    said = " ".join(answers[-1].split())
    assert f"Tomorrow it is answered again. If the hospital wants it again: {APPROVE} {job.digest()}" in said


def test_other_words_for_the_same_request_are_the_same_request(make_site, job_of):
    site, job = make_site(), job_of()
    splits = ["", "val", "test", "train", "VAL", " val", "everything"]
    assert len(served(site.train(job, split=split) for split in splits)) == 2
    assert len(served(site.train(job, run=f"run-{number}") for number in range(5))) == 0
    assert len(served(site.evaluate(job, split=split) for split in splits for _ in range(3))) == 4


def test_a_failed_answer_counts_and_a_crash_does_not(make_site, job_of):
    explosive = {"optimizer": "sgd", "learning_rate": 1e38, "weight_decay": 1e6}
    site, job = make_site(), job_of(**{f"training_{key}": value for key, value in explosive.items()})
    answers = [site.train(job) for _ in range(3)]
    assert "no longer a number" in answers[0]
    assert "no longer a number" in answers[1]
    assert "was answered 2 times" in answers[2]
    # What a process that dies leaves behind is what was on the disk when the work began.
    other = job_of(job_seed=2)
    for _ in range(5):
        visit_begins(site, other)
        site.restart()
    assert served(site.train(other) for _ in range(3)) == [0, 1]


def visit_begins(site, job):
    visit = Visit(job, "train", 1, "", "", 1)
    site.site.admit(visit)
    site.site.gate.take(visit, Carried(hashlib.sha256(first_of(job).tobytes()).hexdigest(), ""))


def test_one_model_a_round_and_the_first_is_the_jobs_own(make_site, job_of):
    site, job = make_site(), job_of(job_rounds=5)
    first = first_of(job)
    crafted = np.where(np.arange(first.size) < 9, 1, first).astype(np.float32)
    assert "job.model: the first model is not" in site.train(job, vector=crafted)
    assert site.train(job) == ""
    second, third = first + 1, first + 2
    assert site.evaluate(job, 1, vector=second) == ""
    assert "job.model" in site.evaluate(job, 1, vector=third)
    assert "job.model" in site.train(job, 2, vector=third)
    assert site.train(job, 2, vector=second) == ""
    assert site.train(job, 4, vector=third) == ""  # it was not drawn for round 3
    assert "job.model" in site.evaluate(job, 3, vector=crafted)
    site.restart()
    assert "job.model" in site.train(job, 2, vector=third)
    assert site.evaluate(job, 3, vector=third) == ""


def test_the_last_bits_of_the_first_model_are_the_processors(make_site, job_of):
    site, job = make_site(), job_of()
    first = first_of(job)
    assert site.train(job, vector=np.nextafter(first, np.float32(9))) == ""


def test_a_site_that_missed_the_round_that_is_tested_tests_its_model_once(make_site, job_of):
    site, job = make_site(), job_of()
    models = [first_of(job) + number for number in range(4)]
    assert site.train(job, vector=models[0]) == ""
    assert site.evaluate(job, 2, "test", vector=models[2]) == ""  # it was late in round 2
    assert "job.model" in site.evaluate(job, 2, "test", vector=models[3])


def test_the_test_is_for_one_model_that_was_sent_before(make_site, job_of):
    site, job = make_site(), job_of()
    models = [first_of(job) + number for number in range(4)]
    assert "was sent none" in site.evaluate(job, 2, "test", vector=models[2])
    for round_ in (1, 2, 3):
        assert site.evaluate(job, round_, vector=models[round_]) == ""
    assert site.evaluate(job, 2, "test", vector=models[2]) == ""
    assert "for the test" in site.evaluate(job, 3, "test", vector=models[3])
    assert site.evaluate(job, 2, "test", vector=models[2]) == ""
    assert "was answered 2 times" in site.evaluate(job, 2, "test", vector=models[2])


def test_the_test_is_for_one_round_also_where_no_training_changes_the_model(make_site, job_of):
    site, job = make_site(), job_of()
    for round_ in (1, 2, 3):
        assert site.evaluate(job, round_) == ""
    answers = [site.evaluate(job, round_, "test") for round_ in (2, 1, 3, 2, 2)]
    assert served(answers) == [0, 3]


def test_a_site_that_was_not_drawn_tests_a_model_that_it_has_not_seen(make_site, job_of):
    site, job = make_site(), job_of(strategy_fraction=0.5)
    assert site.evaluate(job, 2, "test", vector=first_of(job) + 2) == ""
    assert "job.model" in site.evaluate(job, 2, "test", vector=first_of(job) + 3)


def test_what_is_evaluated_again_is_counted_in_the_same_bins(make_site, job_of):
    """Two histograms of the same scores in other bins would tell the scores between the bins."""
    site, job = make_site(), job_of()
    edges = np.linspace(0.1, 0.9, 3)[np.newaxis]
    assert site.evaluate(job, edges=edges) == ""
    assert "set of bins" in site.evaluate(job, edges=edges + 0.01)
    assert "set of bins" in site.evaluate(job)
    assert site.evaluate(job, edges=edges) == ""


def test_evaluations_are_those_that_the_job_makes(make_site, job_of):
    site, job = make_site(), job_of(job_rounds=5, evaluation_every=2)
    models = [first_of(job) + number for number in range(6)]
    assert served(site.evaluate(job, round_, vector=models[round_]) for round_ in range(1, 6)) == [1, 3, 4]


def test_the_days_evaluations_are_those_of_all_jobs(make_site, job_of):
    site = make_site('approval = "automatic"\nevaluations_per_day = 2\n')
    assert site.evaluate(job_of()) == ""
    assert site.evaluate(job_of(job_seed=2)) == ""
    assert "policy.evaluations_per_day: today's 2" in site.evaluate(job_of(job_seed=3))
    assert site.train(job_of()) == ""


def test_approved_again_it_is_answered_once_more(make_site, job_of):
    site, job = make_site('approval = "manual"\n'), job_of()
    site.approve(job)
    assert served(site.train(job) for _ in range(4)) == [0, 1]
    assert f"wardround client approve {job.digest()}" in site.train(job)
    site.approve(job)
    assert served(site.train(job) for _ in range(4)) == [0]


def test_the_proximal_term_is_the_jobs(make_site, job_of):
    site = make_site()
    steps = {"training_local_steps": 4, "training_optimizer": "sgd", "training_batch_size": 100}
    job = job_of(strategy_name="fedprox", strategy_proximal_mu=50.0, **steps)
    near = site.send("train", job, proximal_mu=0.0)
    again = site.send("train", job, proximal_mu=1e9)
    update = messages.read_update(near.content, first_of(job).size).vector
    assert np.array_equal(update, messages.read_update(again.content, update.size).vector)
    free = job_of(**steps)  # each step takes all images: every job has an order of its own
    away = messages.read_update(site.send("train", free).content, update.size).vector
    assert np.linalg.norm(update - first_of(job)) < np.linalg.norm(away - first_of(job))


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "ditto"])
def test_what_a_message_says_beside_its_model_changes_no_training(make_site, job_of, strategy):
    """What is done with the images follows from the approved job, the model and the round."""
    job = job_of(strategy_name=strategy, task_class_weights="site", training_batch_size=100)
    claims = {"class_counts": [1, 10**6], "local_steps": 50, "learning_rate": 9.0, "pull": 1e6, "rounds": 1}
    site = make_site()
    answers = [site.send("train", job), site.send("train", job, **claims)]
    one, other = (answer.content[messages.ARRAYS][messages.VECTOR].numpy() for answer in answers)
    assert np.array_equal(one, other)


@pytest.mark.parametrize("promise", [{"epsilon": 1.0}, {"noise_multiplier": 0.8}])
def test_a_private_job_costs_no_more_than_it_says(make_site, job_of, promise):
    site = make_site()
    changes = {f"privacy_{key}": value for key, value in promise.items()}
    job = job_of(privacy_mechanism="dp-sgd", strategy_weight="equal", **changes)
    ledger = Ledger(
        site.folder / LEDGER,
        AuditLog.open(site.folder / "audit", load_key(site.folder / "keys" / "site.key")),
    )
    models = [first_of(job) + number for number in range(4)]
    assert [site.train(job, round_, vector=models[round_ - 1]) for round_ in (1, 1, 2)] == ["", "", ""]
    assert "the job says that it costs epsilon" in site.train(job, 3, vector=models[2])
    history = ledger.history("marks", "patient", job=job.digest())
    (stretch,) = history
    assert stretch.steps == 3  # as many as the job has rounds
    assert epsilon_of(history, job.privacy.delta) <= promise.get("epsilon", np.inf)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["train", "evaluate"]), st.integers(1, 3), st.booleans()
        )
    )
)
def test_no_order_of_requests_gets_more_answers(requests):
    given_out: dict[tuple[object, ...], int] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.sqlite"
        memory = Served(path)
        for job, phase, round_, restart in requests:
            asked = Asked(job * 64, phase, round_, "val" if phase == "evaluate" else "")
            try:
                memory.check(asked, "a")
                memory.count(asked, "a")
                given_out[asked.key] = given_out.get(asked.key, 0) + 1
            except SiteError:
                assert given_out[asked.key] == 2
            if restart:
                memory = Served(path)
    assert all(count <= 2 for count in given_out.values())
