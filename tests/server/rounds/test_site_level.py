"""Noise for whole sites at the coordinator, and what a run's report says of its guarantee."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from server.report.tables import print_guarantee
from server.rounds.site_level import SiteLevel
from server.runs.folder import RunFolder
from shared.errors import JobError, RunError
from shared.privacy.accounting import Steps, epsilon_of
from shared.privacy.site_noise import split_noise

SIZE = 20_000


@pytest.fixture
def site_job(tiny_job):
    site_level = {"privacy_mechanism": "site-level", "privacy_noise_multiplier": 2.0}
    return lambda **changes: tiny_job(**{"strategy_weight": "equal"} | site_level | changes)


def test_one_site_moves_the_mean_by_the_norm_over_the_sites(site_job):
    privacy = SiteLevel(site_job(privacy_max_update_norm=0.5), rehearsal=True)
    start = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    privacy.begin(start)
    assert np.array_equal(privacy.clip(start), start)
    short = start + np.float32(0.001)
    assert np.array_equal(privacy.clip(short), short)
    for scale in (1.0, 1e6):
        length = np.linalg.norm(privacy.clip(start + np.float32(scale)).astype(float) - start)
        assert length == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("rehearsal", [False, True])
def test_the_noise_has_the_deviation_that_is_paid_for(*, site_job, adaptive, rehearsal):
    job = site_job(privacy_max_update_norm=0.5, privacy_adaptive_clipping=adaptive)
    privacy = SiteLevel(job, rehearsal=rehearsal)
    mean = np.zeros(SIZE, np.float32)
    privacy.begin(mean)
    noise = privacy.noised(mean, 4, 1)
    deviation = 2.0 * 0.5 / 4 * (1.05 if adaptive else 1)
    assert noise.std() == pytest.approx(deviation, rel=0.02)
    assert stats.kstest(noise / deviation, "norm").pvalue > 0.001
    again = SiteLevel(job, rehearsal=rehearsal)
    again.begin(mean)
    assert np.array_equal(again.noised(mean, 4, 1), noise) == rehearsal
    assert not np.array_equal(again.noised(mean, 4, 2), noise)


@pytest.mark.parametrize("noise", [0.3, 1.0, 7.0])
def test_updates_and_count_together_cost_what_was_to_be_spent(noise):
    updates, count = split_noise(noise)
    assert updates**-2 + (2 * count) ** -2 == pytest.approx(noise**-2)


def test_the_norm_goes_to_the_median_of_the_updates(site_job):
    job = site_job(privacy_noise_multiplier=0.1, privacy_adaptive_clipping=True, privacy_max_update_norm=50.0)
    privacy = SiteLevel(job, rehearsal=True)
    start = np.zeros(100, np.float32)
    for round_ in range(1, 151):
        privacy.begin(start)
        for length in (1, 2, 3, 4, 5):
            privacy.clip(np.full(100, length / 10, np.float32))
        privacy.noised(start, 5, round_)
    assert 2 < privacy.norm < 4


def test_a_run_ends_with_a_report_in_words(site_job, federate):
    federated = federate(site_job(job_rounds=2, privacy_noise_multiplier=5.0), rehearsal=False)
    federated.loop.execute()
    description = federated.run.read_description()
    told = description["guarantee"]
    assert told["guaranteed"] is True
    alpha = told["sites"]["alpha"]
    assert alpha["unit"] == "site"
    assert alpha["epsilon"] == pytest.approx(epsilon_of([Steps(5.0, 1.0, 2)], 1e-5))
    assert "not against the coordinator" in alpha["words"]
    console = Console(file=io.StringIO(), width=80)
    print_guarantee(console, description)
    assert "alpha, beta, delta, gamma: each site loses at most" in console.file.getvalue()


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_a_resumed_run_has_the_same_bits_and_the_repeated_round_counts(
    site_job, federate, tmp_path, strategy
):
    job = site_job(privacy_adaptive_clipping=True, strategy_name=strategy)
    whole = federate(job, run=RunFolder.create(tmp_path / "whole", job)).loop.execute()
    cut = federate(job)

    def fall_silent(question, answer):
        is_second = question.metadata.message_type == "train" and question.content["config"]["round"] == 2
        return [] if is_second else [answer]

    for node in cut.grid.get_node_ids():
        cut.grid.changes[node] = fall_silent
    with pytest.raises(RunError):
        cut.loop.execute()
    resumed = federate(job, run=RunFolder.open(cut.run.path))
    assert np.array_equal(resumed.loop.execute(resume=True).vector, whole.vector)
    told = resumed.run.read_description()["guarantee"]
    assert "over 4 trainings" in told["sites"]["alpha"]["words"]
    assert told["sites"]["alpha"]["epsilon"] == pytest.approx(epsilon_of([Steps(2.0, 1.0, 4)], 1e-5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy_weight": "examples"}, "weight: must be 'equal'"),
        ({"strategy_name": "fedmedian"}, "adds noise to the mean"),
        ({"privacy_secure_aggregation": True, "strategy_min_sites": 3}, "clips single updates"),
        ({"task_class_weights": "federation"}, "does not protect what is added up .*of each class"),
        ({"privacy_max_grad_norm": 2.0}, "max_grad_norm: needs mechanism = 'dp-sgd'"),
        ({"privacy_noise_multiplier": None}, "either epsilon or noise_multiplier"),
    ],
)
def test_what_does_not_go_with_it_is_refused(site_job, changes, words):
    with pytest.raises(JobError, match=words):
        site_job(**changes)


def test_a_simulation_says_that_it_guarantees_nothing(tiny_job, federate):
    job = tiny_job(job_rounds=1, strategy_weight="equal", privacy_mechanism="dp-sgd", privacy_epsilon=8.0)
    federated = federate(job)
    federated.loop.execute()
    told = json.loads((federated.run.path / "run.json").read_text())["guarantee"]
    assert told["guaranteed"] is False
    assert "A SIMULATION CARRIES NO GUARANTEE" in told["note"]
    alpha = told["sites"]["alpha"]
    assert (alpha["unit"], alpha["epsilon"], alpha["delta"]) == ("patient", 8.0, 1e-5)
    assert alpha["accountant"].startswith("RDP")
    assert "each patient loses at most epsilon 8 at delta 1e-05" in alpha["words"]
    assert alpha["not_covered"] == []  # the sites of this test share neither counts nor scores


def test_without_privacy_there_is_nothing_to_say(tiny_job, federate):
    federated = federate(tiny_job(job_rounds=1))
    federated.loop.execute()
    assert "guarantee" not in federated.run.read_description()


def test_where_counts_stay_epsilon_is_that_of_the_fewest_patients_or_unknown(tiny_job, federate, tmp_path):
    noisy = {"privacy_mechanism": "dp-sgd", "privacy_noise_multiplier": 3.0, "strategy_weight": "equal"}
    found = []
    for length in ({"training_local_steps": 2, "training_local_epochs": None}, {}):
        job = tiny_job(job_rounds=2, training_batch_size=1, **noisy, **length)
        federated = federate(job, run=RunFolder.create(tmp_path / str(len(found)), job))
        federated.loop.execute()
        found.append(federated.run.read_description()["guarantee"]["sites"]["alpha"])
    assert found[0]["epsilon"] == pytest.approx(epsilon_of([Steps(3.0, 1.0, 4)], 1e-5))
    assert found[1]["epsilon"] is None
    assert "only the site's ledger knows" in found[1]["words"]
