"""Noise that the sites of a secure sum share out: how much there is, who may count on it, what it costs."""

import pytest
from scipy import stats

from client.settings.policy import PolicyError, PolicyTable, check_privacy
from client.training.distributed_noise import share_deviation
from server.rounds import secure_sum
from server.runs.folder import RunFolder
from shared.errors import JobError, RunError
from shared.privacy.accounting import Steps, epsilon_of
from shared.privacy.secagg.server import SecAggServer

NOISE, BOUND = 1.5, 0.4


@pytest.fixture
def noisy_job(tiny_job):
    private = {
        "job_rounds": 1,
        "model_norm": "group",
        "data_augment": [],
        "training_batch_size": 1,
        "training_optimizer": "sgd",
        "training_learning_rate": 1.0,
        "training_local_epochs": None,
        "training_local_steps": 1,
        "strategy_weight": "equal",
        "strategy_min_sites": 3,
        "privacy_mechanism": "dp-sgd",
        "privacy_max_grad_norm": BOUND,
        "privacy_noise_multiplier": NOISE,
        "privacy_noise": "distributed",
        "privacy_honest_sites": 3,
        "privacy_secure_aggregation": True,
    }
    return lambda **changes: tiny_job(**private | changes)


@pytest.mark.parametrize("honest", [2, 4])
def test_honest_shares_add_up_to_the_noise_of_the_whole(noisy_job, federate, tmp_path, honest):
    least = {"strategy_min_sites": max(honest, 3)}
    job = noisy_job(privacy_honest_sites=honest, **least)
    quiet_job = noisy_job(  # the same draws of patients, and no noise to speak of
        privacy_noise="local", privacy_honest_sites=None, privacy_noise_multiplier=1e-9, **least
    )
    result = federate(job).loop.execute()
    without_noise = federate(quiet_job, run=RunFolder.create(tmp_path / "quiet", quiet_job))
    for site in without_noise.grid.sites:
        site.sums = None  # which would refuse this difference of two sums
    quiet = without_noise.loop.execute()
    sum_of_four = 4 * (result.vector.astype(float) - quiet.vector)
    expected = NOISE * BOUND * (4 / honest) ** 0.5  # four shares; of so many the whole is made
    assert sum_of_four.std() == pytest.approx(expected, rel=4 / (2 * len(sum_of_four)) ** 0.5)
    assert stats.kstest(sum_of_four / expected, "norm").pvalue > 0.001
    assert share_deviation(job, 1) * honest**0.5 == pytest.approx(NOISE * BOUND)


def test_a_coordinator_that_would_unmask_fewer_gets_nothing(noisy_job, federate, monkeypatch):
    # Four sites send keys, one drops out: enough for secure aggregation, too few for the noise.
    monkeypatch.setattr(
        secure_sum,
        "SecAggServer",
        lambda header, size, _, extras: SecAggServer(header, size, 3, extras=extras),
    )
    federated = federate(noisy_job(privacy_honest_sites=4, strategy_min_sites=4))
    federated.grid.changes[12] = lambda question, answer: (
        [] if question.metadata.message_type == "train" else [answer]
    )
    with pytest.raises(RunError, match="Nothing of a single site was revealed"):
        federated.loop.execute()
    reasons = [reason for site, phase, reason in federated.failures() if phase == "secagg-agree"]
    assert len(reasons) == 3
    assert all("3 sites are left in the sum; this site asks for 4" in reason for reason in reasons)


def test_the_ledger_charges_what_central_noise_would_cost_and_records_on_whom_it_counts(noisy_job, logged):
    job = noisy_job(job_rounds=2)
    policy = {"distributed_noise": True, "privacy": {"discs": {"epsilon": 1000.0, "delta": 1e-5}}}
    federated, log = logged(job, **policy)
    federated.loop.execute()
    spent = [entry for entry in log() if entry["event"] == "privacy-spent"]
    assert [entry["honest_sites"] for entry in spent] == [3, 3]
    rate = spent[0]["sample_rate"]
    assert {(entry["noise_multiplier"], entry["steps"]) for entry in spent} == {(NOISE, 1)}
    assert spent[-1]["epsilon"] == pytest.approx(epsilon_of([Steps(NOISE, rate, 2)], 1e-5))
    words = federated.run.read_description()["guarantee"]["sites"]["alpha"]["words"]
    assert "It holds if 3 sites or more of each sum are honest" in words


def test_a_site_refuses_it_unless_its_policy_allows_it(noisy_job, logged):
    check_privacy(PolicyTable(distributed_noise=True), noisy_job(), "alpha")
    with pytest.raises(PolicyError, match=r"policy\.distributed_noise is false"):
        check_privacy(PolicyTable(), noisy_job(), "alpha")
    federated, log = logged(noisy_job())
    federated.loop.execute()  # of the three that allow it
    assert "alpha" not in federated.run.read_description()["sites"]
    assert not [entry for entry in log() if entry["event"] == "privacy-spent"]


def test_noise_that_rounding_would_swallow_is_refused(noisy_job, federate):
    federated = federate(noisy_job(privacy_noise_multiplier=1e-6))
    with pytest.raises(RunError):
        federated.loop.execute()
    assert "would be lost in the rounding" in federated.failures()[0][2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privacy_secure_aggregation": False}, "needs secure_aggregation"),
        ({"training_local_steps": 2}, "local_steps: must be 1"),
        ({"training_local_steps": None, "training_local_epochs": 1}, "local_steps: must be 1"),
        ({"training_optimizer": "adam"}, "must be 'sgd'"),
        ({"privacy_noise_multiplier": None, "privacy_epsilon": 8.0}, "noise_multiplier: is needed"),
        ({"strategy_weight": "examples"}, "weight: must be 'equal'"),
        ({"privacy_honest_sites": 4}, "can't be had of sums of 3 sites"),
        ({"privacy_honest_sites": None}, "honest_sites: is needed"),
        ({"privacy_noise": "local"}, "honest_sites: is needed"),
    ],
)
def test_what_would_break_the_guarantee_is_refused(noisy_job, changes, words):
    with pytest.raises(JobError, match=words):
        noisy_job(**changes)
