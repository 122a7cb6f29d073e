"""The model of the last round as the mean of those of the last rounds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.last_rounds import LastRounds
from shared.describing_job import describing_tables
from shared.errors import JobError
from shared.job.schema import parse_job
from simulate.tuning.space import job_of_trial
from tests.jobs import make_job


def last(rounds: int, number: int | None) -> LastRounds:
    return LastRounds(make_job(job_rounds=rounds, evaluation={"average_last": number} if number else None))


@given(st.integers(2, 6), st.integers(0, 4), st.integers(0, 9))
def test_the_last_model_is_the_mean_and_the_others_are_what_they_were(number: int, before: int, seed: int):
    rounds, generator = number + before, np.random.default_rng(seed)
    models = generator.normal(size=(rounds, 5)).astype(np.float32)
    models[:, 0] = models[0, 0]  # frozen
    average = last(rounds, number)
    found = []
    for round_, model in enumerate(models, 1):
        state = average.state()
        average = last(rounds, number)  # as after a restart
        average.restore(state)
        assert state == {}
        found.append(average(round_, model))
    assert (np.array(found[:-1]) == models[:-1]).all()
    assert found[-1] == pytest.approx(models[before:].mean(axis=0), abs=1e-6)
    assert found[-1][0] == models[0, 0]
    assert found[-1].dtype == np.float32


@given(st.integers(2, 6), st.floats(0.05, 0.99), st.integers(0, 9))
def test_the_moving_average_weighs_rounds_by_their_age(rounds: int, decay: float, seed: int):
    models = np.random.default_rng(seed).normal(size=(rounds, 5)).astype(np.float32)
    models[:, 0] = models[0, 0]  # frozen
    job = make_job(job_rounds=rounds, evaluation={"average_decay": decay})
    average, found = LastRounds(job), []
    for round_, model in enumerate(models, 1):
        state = average.state()
        average = LastRounds(job)  # as after a restart
        average.restore(state)
        found.append(average(round_, model))
    assert (np.array(found[:-1]) == models[:-1]).all()  # sites train on with the models as they are
    weights = decay ** np.arange(rounds)[::-1]
    assert found[-1] == pytest.approx(np.average(models, axis=0, weights=weights), abs=1e-5)
    assert found[-1][0] == models[0, 0]


def test_without_the_key_nothing_is_averaged_or_remembered():
    average, model = last(2, None), np.ones(3, np.float32)
    assert all(average(round_, model) is model for round_ in (1, 2))
    assert average.state() == {}


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"average_last": 2, "select_best": "loss"}, "leave out select_best"),
        ({"average_last": 4}, "the job has 3 rounds"),
        ({"average_last": 1}, "average_last"),
        ({"average_decay": 0.9, "select_best": "loss"}, "average_decay: nothing is chosen then"),
        ({"average_decay": 0.9, "average_last": 2}, "take one of them"),
        ({"keep_models": 4}, "keep_models: the job has 3 rounds"),
    ],
)
def test_what_cannot_be_averaged_is_refused(evaluation: dict[str, Any], said: str):
    with pytest.raises(JobError, match=said):
        make_job(job_rounds=3, evaluation=evaluation)


@pytest.mark.parametrize("key", [{"average_decay": 0.9}, {"average_last": 2}, {"keep_models": 3}])
def test_jobs_made_of_it_leave_out_what_is_of_its_rounds(key: dict[str, Any]):
    job = make_job(evaluation={"select_best": None, **key})
    trial = job_of_trial(job, "loss", {"job.rounds": 1}, Path("tune.toml"))
    assert trial.evaluation.select_best == "loss"
    assert parse_job(describing_tables(job), "description").job.describes
