"""Runs at work side by side at the same hospitals: real sites with gate, keys and disk, asked in turns."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from client.work.site_worker import SiteHost
from client.workers.calls import Call
from server.rounds.loop import RoundLoop
from server.runs.folder import RunFolder
from shared.flower import COORDINATOR_NODE, become
from shared.job.schema import JobSpec
from simulate.session.grid import LocalGrid, node_id
from simulate.workers.in_process import InProcess
from tests.simulate.federation.absent_coordinator import AbsentCoordinator

pytestmark = pytest.mark.slow

SITES = ("alpha", "beta", "gamma")


class Turns:
    """Lets several threads go on one at a time, in turn."""

    def __init__(self, count: int) -> None:
        self._waiting = threading.Condition()
        self._going_on = list(range(count))
        self._next = 0

    def wait(self, who: int) -> None:
        with self._waiting:
            assert self._waiting.wait_for(lambda: self._next == who, timeout=300)

    def hand_over(self, who: int, *, ended: bool = False) -> None:
        with self._waiting:
            place = self._going_on.index(who)
            if ended:
                self._going_on.remove(who)
            else:
                place += 1
            if self._going_on:
                self._next = self._going_on[place % len(self._going_on)]
            self._waiting.notify_all()


class Hosts:
    """Hands the messages of one run to the hospitals' own workers."""

    def __init__(self, hosts: Mapping[str, SiteHost], run: int) -> None:
        self._hosts, self._run = hosts, run

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        payload = {**call.payload, "run": self._run, "node": node_id(call.site)}
        return self._hosts[call.site].handle(replace(call, payload=payload))


class InTurn(LocalGrid):
    """Before each question the other runs ask theirs."""

    def __init__(self, hosts: Mapping[str, SiteHost], turns: Turns, run: int) -> None:
        super().__init__(InProcess(partial(Hosts, hosts, run), threads=1), SITES)
        self._turns, self._number = turns, run

    def send_and_receive(self, messages, *, timeout=None) -> Iterator[Message]:
        asked = list(messages)
        self._turns.hand_over(self._number)
        self._turns.wait(self._number)
        answers = list(super().send_and_receive(asked, timeout=timeout))
        become(COORDINATOR_NODE)
        yield from answers


@pytest.fixture(scope="module")
def hospitals(tiny_data: Path, tmp_path_factory) -> list[Path]:
    """Return the folders of three hospitals that have joined a federation; each run opens them anew."""
    with AbsentCoordinator(tmp_path_factory.mktemp("federation")) as federation:
        return [federation.enrol(site, {"discs": tiny_data}) for site in SITES]


@pytest.fixture
def run_together(hospitals, tmp_path):
    """Return a function that runs jobs in turns, and returns the final model of each."""

    def run(*jobs: JobSpec) -> list[np.ndarray]:
        hosts = {folder.name: SiteHost(folder / "site.toml") for folder in hospitals}
        turns = Turns(len(jobs))
        vectors: dict[int, np.ndarray] = {}

        def go(number: int, job: JobSpec) -> None:
            turns.wait(number)
            try:
                grid = InTurn(hosts, turns, number)
                folder = RunFolder.create(tmp_path / "runs", job)
                vectors[number] = RoundLoop(grid, job, folder, lambda _: None, strict=True).execute().vector
            finally:
                turns.hand_over(number, ended=True)

        threads = [threading.Thread(target=go, args=item) for item in enumerate(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [vectors[number] for number in range(len(jobs))]

    return run


def test_each_run_gets_the_bits_that_it_has_alone(run_together, tiny_job):
    def jobs() -> list[JobSpec]:
        secure = {"privacy_secure_aggregation": True}
        return [
            tiny_job(job_name="plain"),
            tiny_job(job_name="compressed", update_compression="int8"),
            tiny_job(job_name="secure", **secure),
            tiny_job(job_name="other", job_seed=6, **secure),
            tiny_job(job_name="third", job_seed=7, **secure),
        ]

    alone = [run_together(job)[0] for job in jobs()]
    together = run_together(*jobs())
    for job, one, other in zip(jobs(), alone, together, strict=True):
        assert np.array_equal(one, other), job.job.name


def test_private_runs_finish_side_by_side_with_others(run_together, tiny_job):
    private = tiny_job(
        job_name="private",
        privacy_mechanism="dp-sgd",
        privacy_noise_multiplier=1.0,
        strategy_weight="equal",
        model_norm="instance",
        evaluation_select_best="loss",
    )
    secure = tiny_job(job_name="beside", privacy_secure_aggregation=True)
    assert all(np.isfinite(vector).all() for vector in run_together(private, secure, private_twin(private)))


def private_twin(job: JobSpec) -> JobSpec:
    return job.model_copy(update={"job": job.job.model_copy(update={"name": "twin"})})
