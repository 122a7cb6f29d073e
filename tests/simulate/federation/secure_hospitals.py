"""Honest hospitals with their workers, and a coordinator that asks them whatever it likes.

The folders are those of sites that joined a federation: certificates, policy, books and logs on disk. Every
message goes to a site's worker as the site's service hands it over.
"""

import itertools
import json
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.work.site_host import SiteHostFactory
from client.workers.calls import Call, Workers
from client.workers.processes import ProcessPool
from client.workers.records import pack, unpack
from shared.job.schema import JobSpec
from shared.networks.build import build_model
from shared.privacy.secagg import messages as stages
from shared.privacy.secagg.context import context_of
from shared.privacy.secagg.fixed_point import EXTRAS, Mean
from shared.privacy.secagg.records import (
    STATISTICS,
    TEST,
    TRAIN,
    VALIDATION,
    Envelopes,
    Header,
    KeyMessage,
    Reveal,
)
from shared.privacy.secagg.server import SecAggServer
from shared.privacy.secagg.wide import WORDS
from shared.tasks import make_task
from shared.wire import messages
from shared.wire.packed_model import Layout
from simulate.session.grid import node_id
from simulate.workers.in_process import InProcess

Vector = NDArray[np.float32]


class RefusedError(Exception):
    """A hospital's answer was an error, with its reason."""


class Hospitals:
    """The workers of some hospitals, just started; a context manager that ends them.

    Args:
        folders: Of each site, by its name.
        processes: Names of those whose worker is a process of its own.
    """

    def __init__(self, folders: Mapping[str, Path], processes: Collection[str] = ()) -> None:
        self._folders = folders
        self._processes = processes
        self._numbers = itertools.count(1)
        self._pools: dict[str, Workers] = {}

    def __enter__(self) -> "Hospitals":
        for name in self._folders:
            self._start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.close()

    def restart(self, name: str) -> None:
        """End a hospital's worker and begin another."""
        self._pools.pop(name).close()
        self._start(name)

    def _start(self, name: str) -> None:
        factory = SiteHostFactory(self._folders[name] / "site.toml")
        if name in self._processes:
            self._pools[name] = ProcessPool(1, factory, threads=1)
        else:
            self._pools[name] = InProcess(factory, threads=1)

    def ask(self, site: str, kind: str, content: RecordDict, run: int) -> RecordDict:
        """Hand a message to a hospital and return the content of its answer."""
        number = next(self._numbers)
        payload, arrays = pack(content)
        payload |= {"type": kind, "id": str(number), "node": node_id(site), "run": run}
        pool = self._pools[site]
        pool.submit([Call(number, site, kind, payload, arrays)])
        (outcome,) = pool.wait(None)
        if outcome.payload is None:
            raise RefusedError(str(outcome.error))
        if "error" in outcome.payload:
            raise RefusedError(outcome.payload["error"][1])
        return unpack(outcome.payload, outcome.arrays)


class Coordinator:
    """Carries sums through by hand: which model each site gets, which header, who is said to be left.

    Args:
        hospitals: That it asks.
        job: What it asks for.
        run: Flower's number of the run.

    Attributes:
        statistics: What it says to be the sums before round 1; goes with every model.
    """

    def __init__(self, hospitals: Hospitals, job: JobSpec, run: int = 1) -> None:
        self.job = job
        self._hospitals = hospitals
        self._run = run
        network = build_model(job)
        self.layout = Layout.of(network)
        self.first = self.layout.pack(network)
        self.statistics: Sequence[float] = ()

    def request(self, vector: Vector, round_: int, phase: str = TRAIN) -> RecordDict:
        """Return what asks a site to train, or to evaluate; or for its statistics."""
        if phase == STATISTICS:
            return messages.describe_request(self.job.canonical())
        config = messages.request_config(
            self.job.canonical(),
            self.layout.digest(),
            round_,
            split="" if phase == TRAIN else phase,
            statistics=self.statistics,
        )
        return RecordDict({messages.ARRAYS: messages.vector_record(vector), messages.CONFIG: config})

    def header(self, vector: Vector, round_: int, phase: str, session: bytes) -> Header:
        """Return an honest header for a model."""
        read = messages.read_question if phase == STATISTICS else messages.read_request
        context = context_of(phase, read(self.request(vector, round_, phase)))
        return Header(bytes.fromhex(self.job.digest()), round_, session, phase, context)

    def sum(
        self,
        models: Mapping[str, Vector],
        *,
        round_: int = 1,
        phase: str = TRAIN,
        headers: Callable[[str, bytes], Header] | None = None,
    ) -> SecAggServer:
        """Carry all stages through with the sites of `models`, each of which gets its own model.

        Args:
            models: What each site gets.
            round_: Number of the round.
            phase: What is summed.
            headers: Returns the header that a site gets in a session; the first model's for all by default.

        Returns:
            The coordinator's state, whose sum can be unmasked.

        Raises:
            RefusedError: A site refused.
        """
        split = phase if phase in (VALIDATION, TEST) else ""
        session = secrets.token_bytes(32)
        honest = self.header(next(iter(models.values())), round_, phase, session)
        make_header = headers or (lambda *_: honest)
        size, extras = self.layout.size, EXTRAS
        if phase == STATISTICS:
            size, extras = WORDS * sum(spec.size for spec in self.job.task.statistics()), 0
        elif phase != TRAIN:
            size, extras = make_task(self.job).metrics().pack().size, 0
        server = SecAggServer(honest, size, extras=extras)

        def stage(site: str, name: str, body: bytes) -> bytes:
            asked = stages.stage_request(self.job.canonical(), round_, body, split)
            return stages.read_stage(self._hospitals.ask(site, f"query.{name}", asked, self._run))

        for site in models:
            keys = KeyMessage.from_bytes(stage(site, stages.KEYS, make_header(site, session).to_bytes()))
            server._keys[site] = keys  # a hostile coordinator checks nothing
        roster = server.roster().to_bytes()
        for site in models:
            server.take_shares(site, Envelopes.from_bytes(stage(site, stages.SHARES, roster)))
        for site, inbox in server.inboxes().items():
            stage(site, stages.INBOX, inbox.to_bytes())
        for site, vector in models.items():
            kind = {TRAIN: "train", STATISTICS: f"query.{messages.STATISTICS}"}.get(phase, "evaluate")
            answer = self._hospitals.ask(site, kind, self.request(vector, round_, phase), self._run)
            server.take_masked(site, stages.read_masked(answer, size, extras)[0])
        outcome = server.outcome().to_bytes()
        for site in models:
            server.take_signature(site, stage(site, stages.AGREE, outcome))
        agreement = server.agreement().to_bytes()
        for site in models:
            server.take_reveal(site, Reveal.from_bytes(stage(site, stages.REVEAL, agreement)))
        return server

    def train(self, models: Mapping[str, Vector], round_: int = 1, **options: Any) -> Mean:
        """Return the mean of the sites' updates."""
        return self.sum(models, round_=round_, **options).mean(self.job.strategy.largest_share)


def same_model(vector: Vector, sites: Collection[str]) -> dict[str, Vector]:
    """Return one model for all sites."""
    return dict.fromkeys(sites, vector)


def renamed(job: JobSpec, **changes: Any) -> JobSpec:
    """Return a job with other values of keys, as table_key."""
    table = json.loads(job.canonical())
    for key, value in changes.items():
        head, _, name = key.partition("_")
        table[head][name] = value
    return JobSpec.model_validate(table, strict=True)
