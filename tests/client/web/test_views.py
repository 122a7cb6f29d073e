"""What the page says: of each line of a policy, of a log's events, of a site that a person should look at."""

import os
import time

import pytest

from client.settings.counts_rules import CountsRules
from client.settings.policy import Cap, PolicyTable, UpdateRules
from client.settings.policy_words import policy_lines
from client.web.log import Choice, LogCheck, newest
from client.web.sent import sent_runs
from client.web.standing import standing
from shared.text.phrase import phrase
from tests.client.web.hospital import RUN, Hospital

STRICT = PolicyTable(
    tasks=["segmentation"],
    networks=[],
    strategies=["fedavg"],
    researchers=["jane"],
    projects=[],
    min_sites=3,
    max_rounds=10,
    rounds_per_day=20,
    evaluations_per_day=40,
    hours=["18:00-07:00"],
    secure_aggregation="required",
    min_sites_in_sum=5,
    share_site_metrics=True,
    update=UpdateRules(parts=["head"], max_bits=16, max_share=0.1, clip=10.0),
    counts={"discs": CountsRules(columns={"sex": ["f", "m"]}, bands={"age": [60.0]}, projects=["lung"])},
    privacy={"discs": Cap(epsilon=8.0, delta=1e-5, days=365, accountant="prv")},
)


@pytest.mark.parametrize("policy", [PolicyTable(), PolicyTable(approval="automatic"), STRICT])
def test_every_line_of_a_policy_has_words(policy: PolicyTable) -> None:
    lines = policy_lines(policy)
    keys = set(PolicyTable.model_fields) - {"update", "privacy", "counts"} | {
        f"update.{k}" for k in UpdateRules.model_fields
    }
    of_datasets = {f"{table}.{name}" for table in ("privacy", "counts") for name in getattr(policy, table)}
    assert {line.key for line in lines} == keys | of_datasets
    for line in lines:
        assert line.means[0].isupper()
        assert line.means.endswith(".")
        assert "{" not in line.means + line.refuses
        assert not line.refuses.endswith(".")


def test_what_is_set_is_told_from_what_is_not() -> None:
    lines = {line.key: line for line in policy_lines(STRICT)}
    assert lines["networks"].means == "None of the networks may be asked for."
    assert lines["min_sites_in_sum"].refuses == "a sum of fewer than 5 sites"
    assert lines["privacy.discs"].refuses.endswith("a job that trains on it without differential privacy")
    assert lines["hours"].is_set
    assert not lines["compile"].is_set
    assert lines["approval"].refuses == "a job that nobody approved, or was denied"


def test_a_request_for_a_job_that_waits_is_no_refusal(own_hospital: Hospital) -> None:
    job = own_hospital.waiting.digest()
    own_hospital.log.append("request-refused", job=job, rule="policy.approval")
    assert newest(own_hospital.folder, Choice(), 1)[0][0].said == (
        "A request of disc-outline was not answered: nobody here has approved it."
    )


def test_a_line_of_the_policy_counts_as_people_do() -> None:
    lines = {
        line.key: line for line in policy_lines(PolicyTable(max_rounds=1, rounds_per_day=2, min_sites=1))
    }
    assert lines["max_rounds"].means == "A job has 1 round at most."
    assert lines["rounds_per_day"].refuses == "a round after 2 rounds in one day"
    assert lines["min_sites"].means == "A round needs 1 site or more."


def test_what_names_no_run_stands_with_its_jobs_and_a_signature_has_words(own_hospital: Hospital) -> None:
    hospital = own_hospital
    of = {"job": hospital.trained.digest(), "researcher": "omar"}
    hospital.log.append("reply-sent", phase="describe", round=0, bytes=0, examples=30, **of)
    hospital.log.append("statement-signed", run=RUN, sha256="ab" * 32, **of)
    hospital.log.append("reply-sent", phase="statement", round=0, run=RUN, bytes=0, examples=0, **of)
    said = [line.said for line in newest(hospital.folder, Choice(), 2)[0]]
    assert said[0] == "What the site signs about its part of disc-size left."
    assert said[1].startswith(f"The site's part in the run {RUN} of")
    [run] = [one for one in sent_runs(hospital.folder) if one.job == of["job"]]
    assert [entry.fields["phase"] for entry in run.newest][:2] == ["statement", "describe"]


def test_metrics_that_the_policy_keeps_are_told_from_those_that_left(own_hospital: Hospital) -> None:
    of = {"job": own_hospital.trained.digest(), "run": RUN, "phase": "evaluate", "split": "test", "round": 2}
    said = []
    for examples in ({"examples": 0}, {"examples": 20}, {}):  # the last behind masks
        own_hospital.log.append("reply-sent", bytes=2_184, **examples, **of)
        said.append(newest(own_hospital.folder, Choice(), 1)[0][0].said)
    what = "on test patients of round 2 of disc-size left"
    assert said[0].startswith(f"No metrics (zeros in their place) {what}")
    assert said[1].startswith(f"Metrics {what}")
    assert said[2] == said[1]


def test_every_entry_of_a_log_is_a_sentence(hospital: Hospital) -> None:
    found, has_older = newest(hospital.folder, Choice())
    assert not has_older
    assert [line.number for line in found] == sorted((line.number for line in found), reverse=True)
    said = [line.said for line in found]
    assert "The update of round 1 of disc-size left: 151.7 kB." in said
    assert any(line.startswith("Round 2 of disc-size was counted: epsilon ") for line in said)
    assert all(line.endswith(".") and ".." not in line for line in said)
    older, more = newest(hospital.folder, Choice(before=found[3].number), most=2)
    assert [line.number for line in older] == [line.number for line in found[4:6]]
    assert more


def test_a_log_is_checked_again_when_it_has_grown(own_hospital: Hospital) -> None:
    check = LogCheck(own_hospital.folder)
    first = check.look()
    assert first is not None
    assert not first.problems
    assert check.look() is first
    head = own_hospital.log.append("service-stopped").head
    second = check.look()
    assert second is not None
    assert second.head == head


def test_what_a_person_should_look_at_stands_first(own_hospital: Hospital) -> None:
    found = standing(own_hospital.folder)
    assert [job.name for job in found.waiting] == ["disc-outline", "disc-size-private"]
    what = {concern.what: concern.said for concern in found.concerns}
    assert what["service"] == "the service has never run here"
    assert what["budget"].startswith("of 'discs': epsilon ")
    assert found.health == "no answer"
    assert found.hours == "00:00-23:59 (now)" or time.localtime()[3:5] == (23, 59)
    (own_hospital.folder / "keys" / "site.crt").unlink()
    assert "certificate" in {concern.what for concern in standing(own_hospital.folder).concerns}


def test_a_settings_file_that_the_service_has_not_read_is_noticed(own_hospital: Hospital) -> None:
    from client.service.health import Health, socket_of
    from client.service.state import StateFolder

    state = own_hospital.folder / "state"
    StateFolder(state).tell("online")
    own_hospital.log.append("service-started", version="0.0.1")
    with Health([socket_of(state)]):
        os.utime(own_hospital.folder / "site.toml", (0, 0))
        before = {concern.what for concern in standing(own_hospital.folder).concerns}
        (own_hospital.folder / "site.toml").touch()
        after = {concern.what for concern in standing(own_hospital.folder).concerns}
    assert after - before == {"site.toml"}
    assert "version" in before


def test_the_words_of_a_digest_are_eight_and_tell_digests_apart() -> None:
    digest = "00" * 32
    assert phrase(digest) == " ".join(["able"] * 8)
    assert phrase("ff" * 32) == " ".join(["zone"] * 8)
    words = {phrase(f"{1 << bit:020x}" + "0" * 44) for bit in range(80)}
    assert len(words) == 80
    assert all(len(text.split()) == 8 for text in words)
    assert phrase(digest[:20] + "f" * 44) == phrase(digest)
