"""Sites that fail, lie, stay silent or answer twice: the others go on, and the run's log says who failed."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord

from server.runs.folder import RunFolder
from shared.errors import RunError
from shared.wire import messages

BETA = 11  # node of the second site


def changed_vector(change):
    """Return a hand that changes the vector of an update."""

    def apply(question, answer):
        if question.metadata.message_type == "train":
            vector = answer.content[messages.ARRAYS][messages.VECTOR].numpy()
            answer.content[messages.ARRAYS] = ArrayRecord({messages.VECTOR: Array(change(vector))})
        return [answer]

    return apply


def changed_metrics(**values):
    def apply(question, answer):
        if question.metadata.message_type == "train":
            answer.content[messages.METRICS] = MetricRecord(dict(answer.content[messages.METRICS]) | values)
        return [answer]

    return apply


def error(question, _):
    if question.metadata.message_type == "train":
        return [Message(Error(messages.SITE_ERROR, "the disk is full"), reply_to=question)]
    return [_]


def silence(question, answer):
    return [] if question.metadata.message_type == "train" else [answer]


def no_content(question, answer):
    if question.metadata.message_type == "train":
        answer.content.clear()
    return [answer]


def spoiled(vector, value):
    vector = vector.copy()
    vector[3] = value
    return vector


HANDS = {
    "an error": (error, "the disk is full"),
    "wrong size": (changed_vector(lambda vector: vector[:-1]), "shape"),
    "NaN": (changed_vector(lambda vector: spoiled(vector, np.nan)), "not finite"),
    "infinity": (changed_vector(lambda vector: spoiled(vector, np.inf)), "not finite"),
    "a huge number": (changed_vector(lambda vector: spoiled(vector, 1e30)), "too large"),
    "wrong dtype": (changed_vector(lambda vector: vector.astype(np.float64)), "float64"),
    "no content": (no_content, "has no"),
    "no examples": (changed_metrics(**{"num-examples": 0}), "no examples"),
    "too many examples": (changed_metrics(**{"num-examples": 2**40}), "beyond"),
    "an infinite loss": (changed_metrics(loss=float("inf")), "not finite"),
    "silence": (silence, "no answer within 5 s"),
}


@pytest.mark.parametrize("name", HANDS)
def test_a_bad_update_is_left_out_and_logged(name, tiny_job, federate):
    hand, reason = HANDS[name]
    federated = federate(tiny_job(job_rounds=1, strategy_round_timeout=5.0))
    federated.grid.changes[BETA] = hand
    federated.loop.execute()
    [(site, phase, said)] = federated.failures()
    assert (site, phase) == ("beta", "train")
    assert reason in said
    log = [json.loads(line) for line in (federated.run.path / "events.jsonl").read_text().splitlines()]
    failed = [event for event in log if event["event"] == "site_failed"]
    assert [(event["site"], event["round"], event["phase"]) for event in failed] == [("beta", 1, "train")]
    assert reason in failed[0]["reason"]
    assert (federated.run.path / "metrics.csv").read_text().splitlines()[1].startswith("1,3,")


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fedmedian", "krum"])
def test_the_result_is_that_of_the_sites_that_answered(strategy, tiny_job, federate):
    job = tiny_job(job_rounds=1, strategy_name=strategy, data_augment=[])
    one = federate(job)
    one.grid.changes[BETA] = error
    two = federate(job)
    two.grid.changes[BETA] = HANDS["NaN"][0]
    assert np.array_equal(one.loop.execute().vector, two.loop.execute().vector)


@pytest.mark.parametrize(
    "strategy", ["fedavg", "fedavgm", "fedadam", "fedmedian", "fedtrimmedavg", "krum", "multikrum"]
)
def test_without_enough_answers_the_run_stops_and_can_be_resumed(strategy, tiny_job, federate):
    job = tiny_job(job_rounds=2, strategy_name=strategy)
    expected = federate(job).loop.execute().vector

    federated = federate(job)

    def fail_in_round_2(question, answer):
        return silence(question, answer) if question.content["config"]["round"] == 2 else [answer]

    for node in federated.grid.get_node_ids():
        if node != BETA:
            federated.grid.changes[node] = lambda question, answer: (
                [answer]
                if question.metadata.message_type.startswith("query")
                else fail_in_round_2(question, answer)
            )
    with pytest.raises(RunError, match="round 2: 1 sites returned an update, the job needs 3"):
        federated.loop.execute()
    resumed = federate(job, run=RunFolder.open(federated.run.path))
    assert np.array_equal(resumed.loop.execute(resume=True).vector, expected)


@pytest.mark.parametrize("strategy", ["fedavg", "krum"])
def test_nobody_answers(strategy, tiny_job, federate):
    federated = federate(tiny_job(strategy_name=strategy))
    for node in federated.grid.get_node_ids():
        federated.grid.changes[node] = silence
    with pytest.raises(RunError, match="0 sites returned an update"):
        federated.loop.execute()


def test_an_answer_twice_counts_once(tiny_job, federate):
    job = tiny_job(job_rounds=1)
    expected = federate(job).loop.execute()
    federated = federate(job)
    for node in federated.grid.get_node_ids():
        federated.grid.changes[node] = lambda _, answer: [answer, answer]
    result = federated.loop.execute()
    assert not federated.failures()
    assert np.array_equal(result.vector, expected.vector)
    assert result.test.federation == expected.test.federation


@pytest.mark.parametrize("strategy", ["fedavg", "fedavgm", "fedmedian", "multikrum"])
def test_the_order_of_the_answers_changes_no_bit(strategy, tiny_job, federate):
    job = tiny_job(job_rounds=2, strategy_name=strategy)
    one, two = federate(job), federate(job, delivery=lambda asked: list(reversed(asked)))
    first, second = one.loop.execute(), two.loop.execute()
    assert np.array_equal(first.vector, second.vector)
    assert first.test.federation == second.test.federation
    rows = [(run.path / "sites.csv").read_text().splitlines() for run in (one.run, two.run)]
    assert [line.split(",")[:5] for line in rows[0]] == [line.split(",")[:5] for line in rows[1]]


def called(name):
    """Return a hand with which a node gives itself a name."""

    def apply(question, answer):
        if question.metadata.message_type.startswith("query"):
            answer.content[messages.CONFIG]["site"] = name
        return [answer]

    return apply


@pytest.mark.parametrize("delivery", [list, lambda asked: list(reversed(asked))])
@pytest.mark.parametrize("name", ["alpha", "epsilon", "../../alpha", "", "beta\n"])
def test_a_site_that_calls_itself_by_another_name_is_out_under_its_own(tiny_job, federate, delivery, name):
    federated = federate(tiny_job(job_rounds=1), delivery=delivery)
    federated.grid.changes[BETA] = called(name)
    federated.loop.execute()
    [(site, phase, reason)] = federated.failures()
    assert (site, phase) == ("beta", "describe")
    assert "name" in reason or f"says that it is the site '{name}'" in reason
    assert sorted(federated.run.read_description()["sites"]) == ["alpha", "delta", "gamma"]


def test_two_nodes_of_one_site_are_both_left_out(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=2))
    federated.grid._names[BETA] = "alpha"
    federated.grid.changes[BETA] = called("alpha")
    federated.loop.execute()
    assert federated.failures() == [("alpha", "describe", "2 nodes of this site are connected")]
    assert sorted(federated.run.read_description()["sites"]) == ["delta", "gamma"]


def test_a_node_of_no_site_is_not_asked(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1))
    del federated.grid._names[BETA]
    federated.loop.execute()
    assert "beta" not in federated.run.read_description()["sites"]
    assert f"node {BETA}" not in (federated.run.path / "events.jsonl").read_text()  # nobody knows its number


def test_false_metric_states_are_left_out_of_the_evaluation(tiny_job, federate):
    def negative(question, answer):
        if question.metadata.message_type == "evaluate":
            states = -np.abs(answer.content[messages.STATES][messages.STATES].numpy()) - 1
            answer.content[messages.STATES] = ArrayRecord({messages.STATES: Array(states)})
        return [answer]

    federated = federate(tiny_job(job_rounds=1))
    federated.grid.changes[BETA] = negative
    result = federated.loop.execute()
    assert {(site, phase) for site, phase, _ in federated.failures()} == {
        ("beta", "evaluate"),
        ("beta", "test"),
    }
    assert sorted(result.test.sites) == ["alpha", "delta", "gamma"]


def test_records_that_nobody_asked_for_disturb_no_strategy(tiny_job, federate):
    job = tiny_job(job_rounds=1, strategy_name="fedmedian")
    expected = federate(job).loop.execute().vector

    def chatty(_, answer):
        if "metrics" in answer.content:
            answer.content["more"] = MetricRecord({"x": 1.0})
            answer.content[messages.METRICS]["also"] = [1.0, 2.0]
        return [answer]

    federated = federate(job)
    federated.grid.changes[BETA] = chatty
    assert np.array_equal(federated.loop.execute().vector, expected)
    assert not federated.failures()


def test_rounds_wait_no_longer_than_the_job_says(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_round_timeout=7.0))
    federated.loop.execute()
    assert federated.grid.timeouts[1:] == [7] * 3  # train, evaluate, test
