"""A run waits for its sites, takes in later those that come later, and its record repeats it to the bit."""

import json

import numpy as np
import pytest
from flwr.app import Error, Message

from server.rounds import joining
from server.rounds.missing_sites import MissingSitesError, to_the_end
from server.runs.folder import RunFolder
from server.runs.participation import Participation
from shared.errors import RunError
from shared.wire.messages import CRASH, DESCRIBE
from shared.wire.site_states import SiteState

ALPHA, BETA, GAMMA, DELTA = 10, 11, 12, 13
NAMES = {ALPHA: "alpha", BETA: "beta", GAMMA: "gamma", DELTA: "delta"}


@pytest.fixture(autouse=True)
def looks_before_each_round(monkeypatch):
    """Let rounds that take a moment ask each time, as rounds of minutes do."""
    monkeypatch.setattr(joining, "_REST", 0.0)


def in_state(state, times=10**6):
    """Return a hand with which a site is in a state for so many questions."""
    asked = []

    def answer(question, honest):
        if question.metadata.message_type != f"query.{DESCRIBE}" or len(asked) >= times:
            return [honest]
        asked.append(question)
        return [Message(Error(int(state), "words that nobody parses"), reply_to=question)]

    return answer


def until_round(federated, state, round_, lost_in=None):
    """Return a hand with which a site is in a state until the others have trained in a round."""

    def answer(question, honest):
        kind = question.metadata.message_type
        if kind == "train" and question.content["config"]["round"] == lost_in:
            return []
        begun = sum(event.kind == "round_started" for event in federated.events)
        if kind == f"query.{DESCRIBE}" and begun < round_:
            return [Message(Error(int(state), "not yet"), reply_to=question)]
        return [honest]

    return answer


def told_first(first, then):
    def listen(event):
        first(event)
        then(event)

    return listen


def waits(federated):
    return [str(event.data["for"]) for event in federated.events if event.kind == "run_waiting"]


def about(federated):
    return json.loads((federated.run.path / "run.json").read_text())


def results(federated):
    path = federated.run.path
    models = [(path / name).read_bytes() for name in ("model.safetensors", "best.safetensors")]
    return models, about(federated)["test"]


def test_a_run_waits_for_who_has_not_decided_and_says_so(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=2))
    undecided, folder = in_state(SiteState.AWAITS_APPROVAL, 2), []

    def watching(question, honest):
        folder.append(about(federated))
        return undecided(question, honest)

    federated.grid.changes[BETA] = watching
    federated.grid.changes[GAMMA] = in_state(SiteState.OUTSIDE_HOURS, 1)
    federated.grid.changes[DELTA] = in_state(SiteState.DENIED)
    federated.loop.execute()
    first, second = waits(federated)
    assert first.startswith("beta (approval, since ")
    assert "), gamma (outside its hours, since " in first
    assert second.startswith("beta (approval, since ")
    assert "gamma" not in second
    assert "delta" not in first  # it has said no, and is not waited for
    assert [one["status"] for one in folder[:3]] == ["running", "waiting", "waiting"]
    assert sorted(folder[1]["waiting"]["sites"]) == ["beta", "gamma"]
    assert about(federated)["waiting"] is None
    assert sorted(about(federated)["sites"]) == ["alpha", "beta", "gamma"]
    assert federated.failures() == []
    left_out = [event for event in federated.events if event.kind == "site_left_out"]
    assert [(event.site, event.data["reason"]) for event in left_out] == [("delta", "denied")]


def test_who_said_yes_and_is_away_again_is_waited_for(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=4))
    grid, seen = federated.grid, []
    everybody = grid.get_node_ids
    undecided = in_state(SiteState.AWAITS_APPROVAL, 1)
    grid.all_sites = lambda: set(NAMES.values())

    def leaving(question, honest):
        seen.append(question)
        if len(seen) == 1:  # alpha has said yes, and goes
            grid.get_node_ids = lambda: [node for node in everybody() if node != ALPHA]
        return undecided(question, honest)

    def coming(event):
        if event.kind == "run_waiting" and "alpha (not connected)" in str(event.data["for"]):
            grid.get_node_ids = everybody

    federated.loop._federation.listen = told_first(coming, federated.loop._federation.listen)
    grid.changes[BETA] = leaving
    federated.loop.execute()
    assert "alpha (not connected)" in waits(federated)[-1]
    assert federated.failures() == []
    assert sorted(about(federated)["sites"]) == sorted(NAMES.values())


def test_after_a_long_wait_every_site_is_asked_once_more(tiny_job, federate, monkeypatch):
    monkeypatch.setattr(joining, "_FRESH_S", 0.5)  # looks are a second apart
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=3))
    decided = in_state(SiteState.AWAITS_APPROVAL, 1)
    federated.grid.changes[BETA] = decided
    asked = []

    def withdrawn(question, honest):
        if question.metadata.message_type == f"query.{DESCRIBE}":
            asked.append(question)
            if len(asked) == 2:
                return [Message(Error(int(SiteState.DENIED), "changed its mind"), reply_to=question)]
        return [honest]

    federated.grid.changes[GAMMA] = withdrawn
    federated.loop.execute()
    assert sorted(about(federated)["sites"]) == ["alpha", "beta", "delta"]


def test_a_site_that_did_not_hear_the_question_has_not_said_no(tiny_job, federate, monkeypatch):
    monkeypatch.setattr(joining.Pause, "begin", lambda _: None)  # else it is left in peace for a while
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=4))
    not_connected = 5  # as Flower answers for a node whose heartbeats have ended
    federated.grid.changes[BETA] = in_state(not_connected, 1)
    federated.loop.execute()
    assert waits(federated)[0].startswith("beta (no answer, since ")
    assert sorted(about(federated)["sites"]) == sorted(NAMES.values())


def test_a_site_that_was_silent_for_a_moment_waits_since_when_it_first_said_so(
    tiny_job, federate, monkeypatch
):
    monkeypatch.setattr(joining.Pause, "begin", lambda _: None)
    moments = (f"2026-11-26T10:{minute:02}:00+00:00" for minute in range(60))
    monkeypatch.setattr(joining, "utc_text", lambda *_: next(moments))
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=4))
    states, seen = [SiteState.AWAITS_APPROVAL, 5, SiteState.AWAITS_APPROVAL, SiteState.OUTSIDE_HOURS], []

    def answer(question, honest):
        if question.metadata.message_type != f"query.{DESCRIBE}" or not states:
            return [honest]
        return [Message(Error(int(states.pop(0)), "words"), reply_to=question)]

    def note(event):
        if event.kind == "run_waiting":
            seen.append(about(federated)["waiting"]["sites"]["beta"])

    federated.loop._federation.listen = told_first(note, federated.loop._federation.listen)
    federated.grid.changes[BETA] = answer
    federated.loop.execute()
    assert [one["state"] for one in seen] == ["approval", "no answer", "approval", "outside its hours"]
    assert seen[2] == seen[0]
    assert seen[3]["since"] > seen[1]["since"] > seen[0]["since"]


def test_without_a_wait_it_begins_with_those_that_are_there(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=2, strategy_wait=0.0))
    federated.grid.changes[BETA] = in_state(SiteState.AWAITS_APPROVAL)
    federated.loop.execute()
    assert waits(federated) == []
    assert sorted(about(federated)["sites"]) == ["alpha", "delta", "gamma"]


def test_at_the_deadline_it_begins_with_enough(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1, strategy_min_sites=2, strategy_wait=0.01))
    federated.grid.changes[BETA] = in_state(SiteState.AWAITS_APPROVAL)
    federated.loop.execute()
    assert sorted(about(federated)["sites"]) == ["alpha", "delta", "gamma"]


def test_at_the_deadline_it_fails_with_too_few_and_can_be_resumed(tiny_job, federate):
    job = tiny_job(job_rounds=1, strategy_min_sites=4, strategy_wait=0.01)
    federated = federate(job)
    federated.grid.changes[BETA] = in_state(SiteState.AWAITS_APPROVAL)
    with pytest.raises(RunError, match="3 sites can train, the job needs 4; beta: approval"):
        federated.loop.execute()
    resumed = federate(job, run=RunFolder.open(federated.run.path))
    resumed.loop.execute(resume=True)
    assert sorted(about(resumed)["sites"]) == sorted(NAMES.values())


def test_where_all_have_said_no_nobody_is_waited_for(tiny_job, federate):
    federated = federate(tiny_job(strategy_min_sites=3))
    federated.grid.changes[BETA] = in_state(SiteState.DENIED)
    federated.grid.changes[GAMMA] = in_state(SiteState.NO_DATASET)
    with pytest.raises(RunError, match=r"2 sites can train.*beta: denied; gamma: no such dataset"):
        federated.loop.execute()
    assert waits(federated) == []


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedbn", "ditto", "fedadam", "krum", "fraction"])
def test_a_late_site_joins_at_the_next_round_and_the_record_repeats_it(strategy, tiny_job, federate):
    options = {"strategy_name": strategy, "strategy_min_sites": 3}
    if strategy == "fraction":
        options |= {"strategy_name": "fedavg", "strategy_fraction": 0.6, "strategy_min_sites": 2}
    job = tiny_job(job_rounds=4, strategy_wait=0.0, strategy_round_timeout=20.0, **options)
    federated = federate(job)
    late = until_round(federated, SiteState.AWAITS_APPROVAL, 2)
    federated.grid.changes[BETA] = late
    federated.loop.execute()
    record = Participation.read(federated.run.path, job)
    assert record.of(2).can_train == ["alpha", "delta", "gamma"]
    assert record.of(3).can_train == ["alpha", "beta", "delta", "gamma"]
    joined = [(event.site, event.round) for event in federated.events if event.kind == "site_joined"]
    assert ("beta", 3) in joined
    assert about(federated)["joined"] == {"beta": 3}
    if strategy != "fraction":  # rounds are compared on the same patients
        assert record.of(4).trained == ["alpha", "beta", "delta", "gamma"]
        assert record.of(4).judged == ["alpha", "delta", "gamma"]
    assert record.test is not None
    assert record.test.judged == ["alpha", "beta", "delta", "gamma"]
    repeated = federate(job, strict=True, repeats=record)
    repeated.loop.execute()
    assert results(repeated) == results(federated)
    assert Participation.read(repeated.run.path, job) == record


def test_a_site_that_is_lost_for_a_round_is_repeated_too(tiny_job, federate):
    job = tiny_job(job_rounds=3, strategy_min_sites=2, strategy_wait=0.0)
    federated = federate(job)
    federated.grid.changes[BETA] = until_round(federated, SiteState.AWAITS_APPROVAL, 1)
    federated.grid.changes[GAMMA] = until_round(federated, SiteState.AWAITS_APPROVAL, 0, lost_in=2)
    federated.loop.execute()
    record = Participation.read(federated.run.path, job)
    assert record.lost == {"gamma": 2}
    everybody = federate(job, strict=True)
    everybody.loop.execute()
    assert results(everybody) != results(federated)
    repeated = federate(job, strict=True, repeats=record)
    repeated.loop.execute()
    assert results(repeated) == results(federated)


def test_under_secure_aggregation_a_late_site_trains_and_does_not_judge(tiny_job, federate):
    job = tiny_job(job_rounds=3, strategy_min_sites=3, strategy_wait=0.0, privacy_secure_aggregation=True)
    federated = federate(job)
    federated.grid.changes[DELTA] = until_round(federated, SiteState.AWAITS_APPROVAL, 1)
    federated.loop.execute()
    assert federated.failures() == []
    assert not [event for event in federated.events if event.kind == "not_evaluated"]
    record = Participation.read(federated.run.path, job)
    assert record.of(2).trained == ["alpha", "beta", "delta", "gamma"]
    assert record.test is not None
    for part in (record.of(1), record.of(2), record.of(3), record.test):
        assert part.judged == ["alpha", "beta", "gamma"]
    repeated = federate(job, strict=True, repeats=record)
    for site in repeated.grid.sites:
        site.sums = None  # the hospitals of a simulation remember no sums
    repeated.loop.execute()
    assert results(repeated) == results(federated)


def leaving_after(round_, code, times):
    """Return a hand with which a site is away from the training of a round on, for so many questions."""
    left = [times]

    def answer(question, honest):
        kind = question.metadata.message_type
        is_away = left[0] < times or (kind == "train" and question.content["config"]["round"] == round_)
        if not is_away or left[0] == 0:
            return [honest]
        left[0] -= 1
        return [Message(Error(int(code), "words that nobody parses"), reply_to=question)]

    return answer


@pytest.mark.parametrize("code", [SiteState.OUTSIDE_HOURS, SiteState.USED_UP, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_a_round_whose_sites_are_away_is_repeated_once_they_are_back(
    code, masked, tiny_job, federate, monkeypatch
):
    monkeypatch.setattr(joining.Pause, "begin", lambda _: None)
    options = {"privacy_secure_aggregation": True, "strategy_weight": "equal"} if masked else {}
    job = tiny_job(job_rounds=3, strategy_name="fedadam", strategy_min_sites=4, **options)
    undisturbed = federate(job)
    undisturbed.loop.execute()
    run, hand, loops = federate(job).run, leaving_after(2, code, 3), []

    def make():
        loops.append(federate(job, run=run))
        loops[-1].grid.changes[BETA] = hand
        return loops[-1].loop

    to_the_end(run, make)
    assert len(loops) == 2
    assert waits(loops[1])[0].startswith("beta (")
    repeated = [event for one in loops for event in one.events if event.kind == "round_repeated"]
    assert [event.round for event in repeated] == [2]
    assert results(loops[-1]) == results(undisturbed)


@pytest.mark.parametrize("code", [CRASH, SiteState.DENIED])
def test_a_round_that_fails_for_other_reasons_ends_the_run(code, tiny_job, federate):
    federated = federate(tiny_job(job_rounds=2, strategy_min_sites=4))
    federated.grid.changes[BETA] = leaving_after(2, code, 1)
    with pytest.raises(MissingSitesError, match="round 2: 3 sites returned an update, the job needs 4"):
        to_the_end(federated.run, lambda: federated.loop)


def test_sites_that_are_lost_again_each_time_end_the_run(tiny_job, federate):
    job = tiny_job(job_rounds=2, strategy_min_sites=4)
    first, made = federate(job), []

    def make():
        made.append(federate(job, run=first.run))
        made[-1].grid.changes[BETA] = leaving_after(2, 5, 1)
        return made[-1].loop

    with pytest.raises(MissingSitesError, match="round 2: 3 sites"):
        to_the_end(first.run, make)
    assert len(made) == 3


def test_the_guarantee_for_whole_sites_lets_nobody_in_later(tiny_job, federate):
    job = tiny_job(
        job_rounds=2,
        strategy_min_sites=2,
        strategy_wait=0.0,
        strategy_weight="equal",
        privacy_mechanism="site-level",
        privacy_noise_multiplier=1.0,
        privacy_max_update_norm=1.0,
    )
    federated = federate(job)
    federated.grid.changes[BETA] = until_round(federated, SiteState.AWAITS_APPROVAL, 1)
    federated.loop.execute()
    assert sorted(about(federated)["sites"]) == ["alpha", "delta", "gamma"]
    [said] = [event for event in federated.events if event.kind == "site_left_out"]
    assert said.site == "beta"
    assert "site-level" in str(said.data["reason"])


def test_a_site_that_comes_back_as_another_node_takes_its_old_place(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=2))
    grid = federated.grid

    nodes = grid.get_node_ids

    def moved():
        begun = any(event.kind == "round_started" for event in federated.events)
        if begun and 21 not in grid._apps:  # before round 2
            grid._apps[21], grid._names[21] = grid._apps.pop(BETA), grid._names.pop(BETA)
        return nodes()

    grid.get_node_ids = moved
    federated.loop.execute()
    assert federated.failures() == []
    record = Participation.read(federated.run.path)
    assert record.of(2).trained == ["alpha", "beta", "delta", "gamma"]
    assert sum(event.kind == "site_joined" and event.site == "beta" for event in federated.events) == 1


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold"])
def test_after_a_restart_a_late_site_is_still_late(strategy, tiny_job, federate):
    job = tiny_job(job_rounds=4, strategy_name=strategy, strategy_min_sites=3, strategy_wait=0.0)
    federated = federate(job)
    federated.grid.changes[BETA] = until_round(federated, SiteState.AWAITS_APPROVAL, 1)

    def die(question, honest):
        if question.metadata.message_type == "train" and question.content["config"]["round"] == 4:
            raise KeyboardInterrupt
        return [honest]

    federated.grid.changes[GAMMA] = die
    with pytest.raises(KeyboardInterrupt):
        federated.loop.execute()
    resumed = federate(job, run=RunFolder.open(federated.run.path))
    resumed.loop.execute(resume=True)
    record = Participation.read(resumed.run.path, job)
    assert [record.of(number).judged for number in range(1, 5)] == [["alpha", "delta", "gamma"]] * 4
    assert [len(record.of(number).trained) for number in range(1, 5)] == [3, 4, 4, 4]
    repeated = federate(job, strict=True, repeats=record)
    repeated.loop.execute()
    assert results(repeated) == results(resumed)


def test_a_record_of_another_job_or_of_an_unfinished_run_repeats_nothing(tiny_job, federate, tmp_path):
    job = tiny_job(job_rounds=2)
    federated = federate(job)
    federated.loop.execute()
    with pytest.raises(RunError, match="belongs to another job"):
        Participation.read(federated.run.path, tiny_job(job_rounds=3))
    file = federated.run.path / "participation.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    short = tmp_path / "short.jsonl"
    short.write_text("".join(lines[:2]))
    with pytest.raises(RunError, match="ends before round 2"):
        federate(job, strict=True, repeats=Participation.read(short, job)).loop.execute()
    (tmp_path / "damaged.jsonl").write_text('{"round": 0, "trained": [1]}')
    with pytest.raises(RunError, match="is no record of who took part"):
        Participation.read(tmp_path / "damaged.jsonl", job)


def test_the_slopes_of_feddyn_stay_the_mean_of_all_sites(tiny_job):
    options = tiny_job(strategy_name="feddyn", training_optimizer="sgd").strategy
    generator = np.random.default_rng(1)
    own = generator.normal(size=(3, 4)).astype(np.float32)  # of three sites; a fourth has 0
    ways = generator.normal(size=(4, 5)).astype(np.float32)  # that each went in this round
    kept = options.diluted({"h": own.mean(axis=0)}, 3 / 4)
    before = {"model": np.zeros(5, np.float32)}
    _, kept = options.conclude({"model": ways.mean(axis=0)}, before, kept, 1.0)
    expected = np.vstack([own, np.zeros((1, 4), np.float32)]) - options.alpha * ways[:, :4]
    np.testing.assert_allclose(kept["h"], expected.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_control_variates_stay_the_mean_of_all_sites(tiny_job):
    options = tiny_job(strategy_name="scaffold").strategy
    generator = np.random.default_rng(1)
    own = generator.normal(size=(3, 4)).astype(np.float32)  # of three sites; a fourth has 0
    c = own.mean(axis=0)
    change = generator.normal(size=(4, 4)).astype(np.float32)
    before = {"model": np.zeros(5, np.float32), "control": c}
    mean = {"model": np.ones(5, np.float32), "control": c + change.mean(axis=0)}
    sent = options.joined(options.conclude(mean, before, {}, 1.0)[0], before, 3 / 4)
    expected = np.vstack([own, np.zeros((1, 4), np.float32)]) + change
    np.testing.assert_allclose(sent["control"], expected.mean(axis=0), rtol=1e-5, atol=1e-6)
