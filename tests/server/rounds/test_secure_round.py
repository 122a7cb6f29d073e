"""Rounds under secure aggregation, with real sites in one process, and messages changed on the way."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import RecordDict

from client.settings.policy import PolicyError, PolicyTable, check_job
from server.rounds.first_sums import sum_up
from server.runs.folder import RunFolder
from shared.errors import RunError
from shared.privacy.secagg import messages as stages
from shared.privacy.secagg.fixed_point import EXTRAS, Codec
from shared.privacy.secagg.records import Roster
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.flat_array import to_array, view
from tests.server.conftest import make_sites, mean_update

SITES = ("alpha", "beta", "gamma", "delta")


@pytest.fixture
def secure_job(tiny_job):
    return lambda **changes: tiny_job(**{"job_rounds": 1, "privacy_secure_aggregation": True} | changes)


def rows(run: RunFolder, name: str) -> list[dict[str, str]]:
    with (run.path / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("weight", ["examples", "equal"])
def test_the_model_is_the_mean_of_the_updates_to_the_quantisation(
    *, secure_job, federate, tiny_data, tmp_path, weight
):
    job = secure_job(strategy_weight=weight)
    secure = federate(job)
    result = secure.loop.execute()
    plain = mean_update(secure, make_sites(tiny_data, SITES, tmp_path / "alone"))
    step = 2.0 ** -Codec(4).fraction_bits  # 4 sites · step / (2 · sum of weights of at least 4)
    assert np.all(np.abs(result.vector - plain) <= step / 2 + np.spacing(np.abs(plain)))
    again = federate(job, run=RunFolder.create(tmp_path / "again", job))
    assert np.array_equal(again.loop.execute().vector, result.vector)  # other masks, the same bits


def test_nothing_of_a_single_site_is_in_the_tables_or_the_answers(secure_job, federate):
    federated = federate(secure_job())
    seen = []

    def note(question, answer):
        if question.metadata.message_type in ("train", "evaluate"):
            seen.append((question.metadata.message_type, answer.content))
        return [answer]

    for node in federated.grid.get_node_ids():
        federated.grid.changes[node] = note
    federated.loop.execute()
    assert len(seen) == 3 * 4  # training, validation, test
    size = federated.loop.layout.size
    states = make_task(federated.loop.job).metrics().pack().size
    noise = np.zeros(0, np.uint8)
    for kind, content in seen:
        assert dict(content[messages.METRICS]).keys() == {"seconds"}
        seconds = content[messages.METRICS]["seconds"]
        assert seconds == float(f"{seconds:.1e}")
        assert messages.STATES not in content
        masked, _ = (
            stages.read_masked(content, size) if kind == "train" else stages.read_masked(content, states, 0)
        )
        noise = np.concatenate([noise, np.unpackbits(masked.view(np.uint8))])
    assert abs(noise.mean() - 0.5) < 0.02  # as noise has
    of_sites = rows(federated.run, "sites.csv")
    assert {row["phase"] for row in of_sites} == {"train", "val"}
    told = {"round", "site", "phase", "seconds", "bytes"}
    assert all(not value for row in of_sites for key, value in row.items() if key not in told)
    metrics = rows(federated.run, "metrics.csv")[0]
    assert float(metrics["train_loss"]) > 0
    assert int(metrics["bytes"]) > 4 * (4 + 8) * size


@pytest.mark.parametrize(
    "stage", [stages.KEYS, stages.SHARES, stages.INBOX, "train", stages.AGREE, stages.REVEAL]
)
def test_one_of_four_sites_may_drop_out_at_any_stage(secure_job, federate, stage):
    federated = federate(secure_job())
    silent = stage if stage == "train" else f"query.{stage}"
    federated.grid.changes[12] = lambda question, answer: (
        [] if question.metadata.message_type == silent else [answer]
    )
    federated.loop.execute()
    phase = stage.replace("_", "-")
    sums = 1 if stage == "train" else 3  # training, validation, test
    assert [(site, where) for site, where, _ in federated.failures()] == [("gamma", phase)] * sums
    train = [row["site"] for row in rows(federated.run, "sites.csv") if row["phase"] == "train"]
    late = stage in (stages.AGREE, stages.REVEAL)
    assert train == ["alpha", "beta", "delta"] + ["gamma"] * late


def test_two_of_four_are_too_many_and_the_run_can_go_on(secure_job, federate):
    federated = federate(secure_job())
    for node in (12, 13):
        federated.grid.changes[node] = lambda question, answer: (
            [] if question.metadata.message_type == "train" else [answer]
        )
    with pytest.raises(RunError, match="2 sites sent masked updates, 3 must") as caught:
        federated.loop.execute()
    assert "Nothing of a single site was revealed" in str(caught.value)
    resumed = federate(secure_job(), run=RunFolder.open(federated.run.path))
    assert resumed.loop.execute(resume=True).round == 1


def test_a_site_that_was_restarted_counts_as_dropped_out(secure_job, federate):
    federated = federate(secure_job())

    def restart(question, answer):
        if question.metadata.message_type == f"query.{stages.INBOX}":
            federated.grid.states[12] = RecordDict()
        return [answer]

    federated.grid.changes[12] = restart
    federated.loop.execute()
    failures = federated.failures()
    phases = ["train", "evaluate", "test"]
    assert [(site, phase) for site, phase, _ in failures] == [("gamma", phase) for phase in phases]
    assert all("counts as dropped out" in reason for *_, reason in failures)


def with_swapped_keys(federated, victim: int = 0):
    """Return how messages are carried by a coordinator that gives one site another key."""
    send = federated.grid.answers

    def in_the_middle(asked, deadline, largest):
        asked = list(asked)
        for message in asked:
            if message.metadata.message_type == f"query.{stages.SHARES}":
                keys = list(Roster.from_bytes(stages.read_stage(message.content)).keys)
                keys[victim] = replace(keys[victim], mask=keys[-1].mask[::-1])
                body = Roster(tuple(keys)).to_bytes()
                message.content = stages.stage_request(federated.loop.job.canonical(), 1, body)
        return send(asked, deadline, largest)

    return in_the_middle


def test_swapped_keys_stop_the_round_with_the_reason(secure_job, federate):
    federated = federate(secure_job())
    federated.grid.answers = with_swapped_keys(federated)
    with pytest.raises(RunError, match="secure aggregation: 0 sites sent shares"):
        federated.loop.execute()
    reasons = {site: reason for site, _, reason in federated.failures()}
    assert reasons["alpha"] == "this site's own keys are missing, or were swapped"
    assert reasons["beta"] == "the keys of alpha are not signed by alpha"
    log = [json.loads(line) for line in (federated.run.path / "events.jsonl").read_text().splitlines()]
    assert any("not signed by alpha" in event.get("reason", "") for event in log)


def test_a_repeated_round_is_not_summed_over_other_sites(secure_job, federate):
    # The same round twice, the second time without gamma: the difference would be gamma's update.
    federated = federate(secure_job())
    federated.loop.execute()
    again = federate(secure_job(), run=RunFolder.create(federated.run.path.parent / "b", secure_job()))
    again.grid.changes[12] = lambda question, answer: (
        [] if question.metadata.message_type == "train" else [answer]
    )
    with pytest.raises(RunError, match="0 sites revealed shares"):
        again.loop.execute()
    assert "summed before over other sites" in again.failures()[-1][2]


def test_the_audit_log_has_every_stage_and_what_was_unmasked(secure_job, logged):
    federated, log = logged(secure_job())
    federated.loop.execute()
    sent = [entry for entry in log() if entry["event"] == "reply-sent" and entry["round"] == 1]
    phases = ["secagg-keys", "secagg-shares", "secagg-inbox", "train", "secagg-agree", "secagg-reveal"]
    assert [entry["phase"] for entry in sent][len(phases) :] == [
        *phases[:3],
        "evaluate",
        *phases[4:],
        *phases[:3],
        "evaluate",
        *phases[4:],
    ]
    assert [entry["phase"] for entry in sent][: len(phases)] == phases
    assert all(entry["bytes"] > 0 and len(entry["sha256"]) == 64 for entry in sent[: len(phases)])
    assert not any("examples" in entry for entry in sent[: len(phases)])
    unmasked = [entry for entry in log() if entry["event"] == "sum-unmasked"]
    assert [(entry["round"], entry["sites"]) for entry in unmasked] == [(1, 4)] * 3


@pytest.mark.parametrize(
    ("victim", "words"), [(1, "are not signed by"), (0, "own keys are missing, or were swapped")]
)
def test_the_audit_log_says_what_was_wrong_with_keys(secure_job, logged, victim, words):
    federated, log = logged(secure_job())
    federated.grid.answers = with_swapped_keys(federated, victim)
    with pytest.raises(RunError):
        federated.loop.execute()
    (failed,) = [entry for entry in log() if entry["event"] == "request-failed"]
    assert (failed["phase"], failed["round"]) == ("secagg-shares", 1)
    assert words in failed["reason"]
    assert not [entry for entry in log() if entry["event"] == "sum-unmasked"]


@pytest.mark.parametrize(
    ("policy", "secure", "words"),
    [
        ({"secure_aggregation": "required"}, False, "policy.secure_aggregation is required"),
        ({"secure_aggregation": "required"}, True, None),
        ({"min_sites_in_sum": 4}, True, "policy.min_sites_in_sum asks for 4, the job goes on with 3"),
        ({"min_sites_in_sum": 3}, True, None),
        ({"min_sites_in_sum": 4}, False, None),
    ],
)
def test_a_policy_can_demand_it_and_the_least_number_of_sites(tiny_job, policy, secure, words):
    job = tiny_job(privacy_secure_aggregation=secure)
    if words is None:
        check_job(PolicyTable(**policy), job, "alpha")
        return
    with pytest.raises(PolicyError, match=words):
        check_job(PolicyTable(**policy), job, "alpha")


def claimed(federated, node: int, **changes):
    """Let a site sign other claims than the honest ones."""
    site = federated.grid.sites[node - 10]
    honest = site.claims
    site.claims = lambda job, phase: replace(honest(job, phase), **changes)


def test_class_counts_are_summed_behind_masks_once(secure_job, federate):
    federated = federate(secure_job(task_class_weights="federation", job_rounds=2))
    answers = []

    def note(question, answer):
        if question.metadata.message_type == f"query.{messages.STATISTICS}":
            answers.append(answer.content)
        return [answer]

    for node in federated.grid.get_node_ids():
        federated.grid.changes[node] = note
    federated.loop.execute()
    about = federated.run.read_description()
    voxels = 4 * 2 * 16 * 16  # of two training images a site; each site rounds what it adds
    assert sum(about["statistics"]["class_counts"]) == pytest.approx(voxels, rel=0.05)
    assert len(answers) == 4  # none of them tells a count
    assert all((stages.read_masked(one, 8, 0)[0].reshape(2, 4) > 2**32).all() for one in answers)
    plain = federate(secure_job(task_class_weights="federation", privacy_secure_aggregation=False))
    plain.loop.execute()
    assert plain.run.read_description()["statistics"] == about["statistics"]


@pytest.mark.parametrize("stage", [stages.KEYS, messages.STATISTICS, stages.REVEAL])
def test_statistics_are_of_all_sites_or_of_none(secure_job, federate, stage):
    federated = federate(secure_job(task_class_weights="federation"))
    federated.grid.changes[12] = lambda question, answer: (
        [] if question.metadata.message_type == f"query.{stage}" else [answer]
    )
    if stage == stages.REVEAL:  # it is in the sum, and is not needed to unmask it
        federated.loop.execute()
        return
    with pytest.raises(RunError, match="gamma dropped out, and statistics are of all sites or of none"):
        federated.loop.execute()
    assert not federated.run.has_begun()
    federate(secure_job(task_class_weights="federation"), run=federated.run).loop.execute()


def test_a_site_remembers_over_which_sites_statistics_were_summed(secure_job, federate):
    federate(secure_job(task_class_weights="federation")).loop.execute()
    other = secure_job(task_class_weights="federation", job_name="another")
    again = federate(other)
    again.loop._joining.gather(1)
    members = again.loop._federation.members
    members[:] = [member for member in members if member.name != "gamma"]
    with pytest.raises(RunError, match="0 sites revealed shares"):
        sum_up(again.loop._federation, other)
    assert "the difference would be that of gamma" in again.failures()[-1][2]


@pytest.mark.parametrize(
    ("job", "claims", "words"),
    [
        ({}, {"weight": 30}, "claims more than it described"),
        ({}, {"patients": 20}, "claims more than it described"),
        ({}, {"weight": 0}, "claims no weight"),
        ({"strategy_weight": "equal"}, {"weight": 2}, "all must weigh alike"),
    ],
)
def test_a_site_that_claims_what_can_not_be_is_left_out(*, secure_job, federate, job, claims, words):
    federated = federate(secure_job(**job))
    claimed(federated, 12, **claims)
    federated.loop.execute()
    site, phase, reason = federated.failures()[0]
    assert (site, phase) == ("gamma", "secagg-keys")
    assert words in reason


def test_a_sum_of_another_weight_than_was_signed_is_refused(secure_job, federate):
    federated = federate(secure_job())

    def heavier(question, answer):
        if question.metadata.message_type == "train":
            record = answer.content[messages.ARRAYS]
            numbers = view(record[messages.VECTOR]).copy()
            numbers[-EXTRAS] += 1 << Codec(4).fraction_bits  # one more image than it has signed
            record[messages.VECTOR] = to_array(numbers)
        return [answer]

    federated.grid.changes[12] = heavier
    with pytest.raises(RunError, match="the sum has a weight of 41, and its sites claim 40"):
        federated.loop.execute()


def test_no_sum_is_mostly_one_sites(secure_job, federate):
    # Of weights 1, 1, 2, 1 the last is gone: gamma would be half of the sum.
    federated = federate(secure_job(strategy_largest_share=0.4))
    for node in (10, 11, 13):
        claimed(federated, node, weight=1)
    federated.grid.changes[13] = lambda question, answer: (
        [] if question.metadata.message_type == "train" else [answer]
    )
    with pytest.raises(RunError, match="0 sites signed the list of survivors"):
        federated.loop.execute()
    reasons = [reason for _, phase, reason in federated.failures() if phase == "secagg-agree"]
    assert len(reasons) == 3
    assert all("one site would have 50% of the sum" in reason for reason in reasons)


def test_a_weight_above_the_largest_share_is_cut_down_by_every_site(
    secure_job, federate, tiny_data, tmp_path
):
    # Weights of 10, 1, 1, 1: with at most 0.3 of the sum for each, all count one.
    sgd = {"training_optimizer": "sgd"}  # Adam makes large steps of what rounding leaves of no gradient
    federated = federate(secure_job(strategy_largest_share=0.3, **sgd))
    for node in (11, 12, 13):
        claimed(federated, node, weight=1)
    result = federated.loop.execute()
    assert federated.failures() == []
    job = secure_job(strategy_weight="equal", **sgd)
    equal = federate(job, run=RunFolder.create(tmp_path / "b", job))
    sites = make_sites(tiny_data, SITES, tmp_path / "alone")
    expected = mean_update(equal, sites)
    assert np.abs(result.vector - expected).max() < 1e-6
