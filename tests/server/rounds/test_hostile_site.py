"""One hostile site among four: what it says about itself is bounded, cut and told under its own name."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord

from server.rounds.site_texts import told
from shared.errors import RunError
from shared.wire import messages
from shared.wire.flat_array import view

BETA, DELTA = 11, 13


def of(kind, change):
    """Return a hand that changes the answers to one kind of question."""

    def apply(question, answer):
        if question.metadata.message_type == kind:
            return change(question, answer) or [answer]
        return [answer]

    return apply


def described(**counts):
    return of("query.describe", lambda _, answer: answer.content[messages.CONFIG].update(counts))


def with_metrics(**values):
    def change(_, answer):
        answer.content[messages.METRICS] = MetricRecord(dict(answer.content[messages.METRICS]) | values)

    return change


def events(federated, kind):
    return [event for event in federated.events if event.kind == kind]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"num-examples": 2**31 - 1}, "trained on 2147483647 images, and described 10"),
        ({"num-examples": 11}, "trained on 11 images, and described 10"),
        ({"loss": 1e300}, "training loss"),
        ({"loss": -1e300}, "training loss"),
        ({"seconds": 1e300}, "1e+300 s"),
        ({"seconds": -1.0}, "-1 s"),
    ],
)
def test_an_update_that_its_description_does_not_bear_is_left_out(tiny_job, federate, values, reason):
    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = of("train", with_metrics(**values))
    federated.loop.execute()
    [(site, phase, said)] = federated.failures()
    assert (site, phase) == ("beta", "train")
    assert reason in said


@pytest.mark.parametrize("steps", [0.0, 1e4])
def test_steps_that_the_job_does_not_have_are_left_out(tiny_job, federate, steps):
    """Under FedNova the change of all sites is multiplied by the mean of their steps."""
    federated = federate(tiny_job(strategy_name="fednova", job_rounds=1))

    def lie(_, answer):
        vector = view(answer.content[messages.ARRAYS][messages.VECTOR]).copy()
        vector[-1] = steps
        answer.content[messages.ARRAYS] = messages.vector_record(vector)

    federated.grid.changes[BETA] = of("train", lie)
    federated.loop.execute()
    [(site, phase, said)] = federated.failures()
    assert (site, phase) == ("beta", "train")
    assert f"sends {steps:g} as 'steps', which is between 1 and" in said


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("what", ["patients", "examples"])
def test_a_description_beyond_what_a_hospital_can_have_is_refused(tiny_job, federate, what, split):
    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = described(**{f"{what}-{split}": 10**15})
    federated.loop.execute()
    [(site, phase, said)] = federated.failures()
    assert (site, phase) == ("beta", "describe")
    assert "16,777,216" in said
    assert sorted(federated.run.read_description()["sites"]) == ["alpha", "delta", "gamma"]


def test_who_describes_much_has_no_more_than_the_largest_share(tiny_job, federate):
    def greedy(question, answer):
        kind = question.metadata.message_type
        if kind == "query.describe":
            answer.content[messages.CONFIG]["examples-train"] = 10**6
        elif kind == "train":
            with_metrics(**{"num-examples": 10**6})(question, answer)
            vector = answer.content[messages.ARRAYS][messages.VECTOR].numpy()
            answer.content[messages.ARRAYS] = ArrayRecord(
                {messages.VECTOR: Array(np.full_like(vector, 0.125))}
            )
        return [answer]

    job = tiny_job(job_rounds=1, evaluation_select_best=None)
    honest = federate(job)
    sent = {}
    for node in honest.grid.get_node_ids():
        if node != BETA:
            honest.grid.changes[node] = of(
                "train",
                lambda question, answer: sent.update(
                    {question.metadata.dst_node_id: answer.content[messages.ARRAYS][messages.VECTOR].numpy()}
                ),
            )
    honest.loop.execute()

    federated = federate(job)
    federated.grid.changes[BETA] = greedy
    vector = federated.loop.execute().vector
    expected = 0.6 * 0.125 + 0.4 * np.mean(list(sent.values()), axis=0)
    assert np.allclose(vector, expected, atol=1e-6)
    [event] = events(federated, "site_weighed_less")
    assert (event.site, event.data) == ("beta", {"weight": 45, "claimed": 10**6})


def with_statistics(numbers):
    def change(_, answer):
        record = ArrayRecord({messages.STATISTICS: Array(np.array(numbers, np.float64))})
        answer.content[messages.STATISTICS] = record

    return of(f"query.{messages.STATISTICS}", change)


@pytest.mark.parametrize(
    "numbers",
    [
        [0.0, 2.0**53],  # of which the others would have refused the sum
        [1.0, 1e15],
        [0.0, 21 * 16 * 16.0],  # voxels of an image more than the rounded number of its images
        [-1.0, 100.0],
        [np.nan, 1.0],
    ],
)
def test_statistics_that_a_description_does_not_bear_are_left_out(tiny_job, federate, numbers):
    weighs = {"task_class_weights": "federation", "task_loss": "cross-entropy"}
    federated = federate(tiny_job(job_rounds=1, **weighs))
    federated.grid.changes[BETA] = with_statistics(numbers)
    federated.loop.execute()
    [(site, phase, said)] = federated.failures()
    assert (site, phase) == ("beta", "statistics")
    assert "statistics" in said or "class_counts" in said
    counts = federated.run.read_description()["statistics"]["class_counts"]
    assert sum(counts) == pytest.approx(3 * 2 * 16 * 16, rel=0.05)


def changed_states(change):
    """Return a hand that changes the metric states of a site."""

    def apply(_, answer):
        states = answer.content[messages.STATES][messages.STATES].numpy().copy()
        change(states)
        answer.content[messages.STATES] = ArrayRecord({messages.STATES: Array(states)})

    return of("evaluate", apply)


def perfect(states):
    states[:] = 0
    states[:3] = -1e300, 2.0**52, 2.0**52


def free_of_loss(states):
    states[0] = -100.0


def many_voxels(states):
    states[2] = 21 * 16 * 16


def better_than_one(states):
    states[5] = states[6] + 1


@pytest.mark.parametrize("change", [perfect, free_of_loss, many_voxels, better_than_one])
def test_metric_states_that_no_images_give_are_left_out(tiny_job, federate, change):
    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = changed_states(change)
    result = federated.loop.execute()
    told = {(site, phase): reason for site, phase, reason in federated.failures()}
    assert told.keys() == {("beta", "evaluate"), ("beta", "test")}
    assert all("can't give" in reason for reason in told.values())
    assert sorted(result.test.sites) == ["alpha", "delta", "gamma"]


def wrong_images(states):
    states[2] += 1  # one class is judged on an image more


def certain_of_more(states):
    states[-1] = 15.0  # no more images were judged than limits allow, but more than there are


@pytest.mark.parametrize("change", [wrong_images, certain_of_more])
def test_states_of_a_classification_that_contradict_each_other_are_left_out(tiny_job, federate, change):
    job = tiny_job(job_rounds=1, task_name="classification", evaluation_select_best="accuracy")
    federated = federate(job)
    federated.grid.changes[BETA] = changed_states(change)
    federated.loop.execute()
    assert {(site, phase) for site, phase, _ in federated.failures()} == {
        ("beta", "evaluate"),
        ("beta", "test"),
    }


def test_more_evaluated_images_than_were_described_are_refused(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = of("evaluate", with_metrics(**{"num-examples": 11}))
    federated.loop.execute()
    assert all("and described 10" in reason for _, _, reason in federated.failures())
    assert len(federated.failures()) == 2


def test_what_a_site_says_of_a_fault_is_short_and_plain(tiny_job, federate):
    text = "\x1b[2J\x1b[31mcoordinator compromised\x07\n\u202e" + "A" * (2 * 2**20)
    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = of(
        "train", lambda question, _: [Message(Error(messages.SITE_ERROR, text), reply_to=question)]
    )
    federated.loop.execute()
    [(_, _, reason)] = federated.failures()
    assert reason.isprintable()
    assert len(reason) <= 301
    assert "coordinator compromised" in reason
    log = (federated.run.path / "events.jsonl").read_bytes()
    assert max(map(len, log.splitlines())) < 2000


def test_names_of_arrays_in_a_message_do_not_fill_the_log_either(tiny_job, federate):
    def named(_, answer):
        array = answer.content[messages.ARRAYS][messages.VECTOR]
        answer.content[messages.ARRAYS] = ArrayRecord({"x" * 2**20 + "\x1b[2J": array})

    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = of("train", named)
    federated.loop.execute()
    [(_, _, reason)] = federated.failures()
    assert len(reason) <= 301
    assert reason.isprintable()


@pytest.mark.parametrize("text", ["", "plain", "é ß 漢字", "x" * 300])
def test_a_harmless_text_stays(text):
    assert told(text) == text


def test_a_site_that_does_not_answer_holds_nobody_longer_than_the_grace(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=2, strategy_grace=0.2))
    federated.grid.asleep = {DELTA}
    federated.loop.execute()
    late = events(federated, "site_late")
    assert [(event.site, event.round, event.phase) for event in late] == [
        ("delta", 1, "train"),
        ("delta", 2, "train"),
    ]
    assert federated.failures() == []
    about = federated.run.read_description()
    assert about["late"] == {"delta": 2}
    assert (federated.run.path / "metrics.csv").read_text().splitlines()[2].startswith("2,3,")


def test_who_was_late_is_in_the_next_round(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=2, strategy_grace=0.2))

    def wake(question, answer):
        if question.metadata.message_type == "evaluate":
            federated.grid.asleep = set()
        return [answer]

    federated.grid.asleep = {DELTA}
    federated.grid.changes[BETA] = wake
    federated.loop.execute()
    rows = [row.split(",") for row in (federated.run.path / "sites.csv").read_text().splitlines()]
    assert [row[0] for row in rows if row[1:3] == ["delta", "train"]] == ["2"]


def test_errors_are_answers_but_no_part_of_the_quorum_that_a_round_needs(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_grace=0.0, strategy_round_timeout=1.0))

    def fail(question, _):
        return [Message(Error(messages.SITE_ERROR, "no"), reply_to=question)]

    federated.grid.changes[BETA] = of("train", fail)
    federated.grid.asleep = {DELTA}  # two of four answer, the job needs three: delta has the whole time
    with pytest.raises(RunError, match="2 sites returned an update"):
        federated.loop.execute()
    assert ("delta", "train", "no answer within 1 s") in federated.failures()
    assert events(federated, "site_late") == []


def test_a_simulation_waits_for_all(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_grace=0.0, strategy_quorum=0.25), strict=True)
    federated.loop.execute()
    assert len((federated.run.path / "sites.csv").read_text().splitlines()) == 1 + 4 + 4
    assert json.loads((federated.run.path / "run.json").read_text())["late"] == {}
