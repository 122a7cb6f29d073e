"""A site's part in secure aggregation: which stage asks for what, and what the site remembers between them.

What it remembers is in Flower's `Context.state`, which a hospital's worker keeps on its disk for each run
(`client/work/run_states.py`): a stage that a crash broke off leaves nothing, and its site counts as dropped
out. In a simulation the state travels with the messages inside one machine, since any worker may serve any
site.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from client.guard.gate import Gate, Visit
from client.guard.release import told_seconds
from client.guard.sum_book import SumBook, Summed
from client.settings.site import SiteConfig
from client.training.distributed_noise import check_resolution
from shared.job.schema import JobSpec
from shared.metrics.curves import surely_behind
from shared.metrics.grouped import GroupedMetrics
from shared.pki.certificates import key_fingerprint, load_certificate
from shared.privacy.secagg import messages as stages
from shared.privacy.secagg import wide
from shared.privacy.secagg.claims import (
    Claims,
    agreed_weights,
    check_bins,
    check_claims,
    check_evaluated,
    check_shares,
)
from shared.privacy.secagg.client import SecAggClient
from shared.privacy.secagg.context import context_of
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.identity import Identity, Trust
from shared.privacy.secagg.metric_sum import encode_states
from shared.privacy.secagg.records import (
    STATISTICS,
    TRAIN,
    VALIDATION,
    Agreement,
    Envelopes,
    Header,
    Outcome,
    Roster,
    side_of,
)
from shared.privacy.secagg.sum_hash import blinds, hash_of
from shared.tasks import make_task
from shared.wire import messages

_STATE = "secure-aggregation"


@dataclass(frozen=True)
class Credentials:
    """How a site shows who it is to the other sites, and whom it believes.

    Attributes:
        keys: The site's folder `keys`; None where there is none.
    """

    identity: Identity
    trust: Trust
    keys: Path | None = None

    @classmethod
    def load(cls, config: SiteConfig, keys: Path) -> Self:
        """Read the credentials from a site's folder `keys`.

        Raises:
            CredentialError: A file is missing or can't be used.
        """
        identity, peers = Identity.load(config.name, keys), dict(config.peers)
        if peers:  # those of others; a site is sure of its own
            peers[config.name] = key_fingerprint(identity.key.public_key())
        return cls(identity, Trust(load_certificate(keys / "ca.crt"), peers), keys)

    def newest(self) -> Identity:
        """Return the identity by the certificate of now, which may have been renewed since.

        Raises:
            CredentialError: A file is missing or can't be used.
        """
        return self.identity if self.keys is None else Identity.load(self.identity.site, self.keys)


class SecureSite(Protocol):
    """What is needed of a site."""

    config: SiteConfig
    gate: Gate | None
    credentials: Credentials | None
    sums: SumBook | None

    def claims(self, job: JobSpec, phase: str) -> Claims: ...  # noqa: D102
    def group(self, job: JobSpec, split: str) -> str: ...  # noqa: D102
    def statistics(self, job: JobSpec) -> NDArray[np.float64]: ...  # noqa: D102
    def train(self, request: messages.Request) -> messages.Update: ...  # noqa: D102
    def model(self, request: messages.Request) -> NDArray[np.float32]: ...  # noqa: D102
    def part(self, request: messages.Request, trained: NDArray[np.float32]) -> NDArray[np.float32]: ...  # noqa: D102
    def summand(  # noqa: D102
        self, request: messages.Request, *, judging: bool, patients: int
    ) -> tuple[GroupedMetrics, NDArray[np.float64]]: ...


Work = Callable[[SecureSite, Visit, RecordDict, RecordDict], RecordDict]
"""(site, visit, content of the message, state) -> content of the reply."""


@dataclass
class Part:
    """A site's part in a sum, between two stages.

    Attributes:
        client: The state machine.
        sketch: Of the model that was worked on; empty before, and where nothing is remembered.
    """

    client: SecAggClient
    sketch: bytes = b""

    @property
    def claims(self) -> dict[str, Claims]:
        """What every site of the roster claims."""
        return {key.site: key.claims for key in self.client.roster.keys}

    def weights(self, job: JobSpec) -> dict[str, int]:
        """Return how much each site of the roster counts; but in training 1, or 0 without patients."""
        if self.client.header.phase != TRAIN:
            return {name: int(claims.patients > 0) for name, claims in self.claims.items()}
        return agreed_weights(self.claims, job.strategy.largest_share)


def advertise(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Begin a sum: give the site's signed keys. What was begun before is forgotten."""
    state.pop(_STATE, None)
    header = Header.from_bytes(stages.read_stage(content))
    _check(header, visit)
    credentials = _credentials(site)
    claims = site.claims(visit.job, header.phase)
    # Of so many sites in every sum the job's honest_sites can be honest: it asks for no more than min_sites.
    least = max(visit.job.strategy.min_sites, site.config.policy.min_sites_in_sum or 0)
    client = SecAggClient(credentials.identity, credentials.trust, header, claims, least=least)
    keys = client.advertise()
    _keep(Part(client), state)
    return stages.stage_reply(keys.to_bytes())


def share(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Check everybody's keys and claims, and give sealed shares of the site's secrets."""
    with _part(site, visit, state) as part:
        shares = part.client.share(Roster.from_bytes(stages.read_stage(content)))
        for name, claims in part.claims.items():
            check_claims(name, claims, visit.job, training=part.client.header.phase == TRAIN)
        return stages.stage_reply(shares.to_bytes())


def open_inbox(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Open the shares of the others."""
    with _part(site, visit, state) as part:
        part.client.open(Envelopes.from_bytes(stages.read_stage(content)))
    return stages.stage_reply(stages.OPENED)


def statistics(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Give the site's part of what is added up before the first round, masked."""
    start = time.perf_counter()
    with _part(site, visit, state) as part:
        check_evaluated(part.claims.values())
        asked = messages.read_question(content)
        _check_signed(part, STATISTICS, asked)
        masked = part.client.mask(wide.encode(site.statistics(visit.job)))
        return stages.masked_reply(masked, told_seconds(time.perf_counter() - start))


def train(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Train, and give the masked update. Examples and loss are inside of it, not beside it."""
    with _part(site, visit, state) as part:
        client = part.client
        request = _agreed_request(part, content, training=True)
        if visit.job.privacy.noise == "distributed":
            check_resolution(visit.job, visit.round, request.vector, client.codec)
        part.sketch = _sketch(site, request)
        update = site.train(request)
        weight = part.weights(visit.job)[client.site]
        numbers = client.codec.encode(site.part(request, update.vector), weight, update.loss)
        sum_hash = b""
        if visit.job.privacy.verifiable_sum:
            numbers = np.concatenate([numbers, blinds(client.codec.sites)])
            sum_hash = hash_of(numbers, visit.job.digest())
        return stages.masked_reply(client.mask(numbers), update.seconds, sum_hash)


def evaluate(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Evaluate, and give the masked metric states; of a site that claims no patients they are empty."""
    start = time.perf_counter()
    with _part(site, visit, state) as part:
        client, roster = part.client, part.claims.values()
        check_evaluated(roster)
        request = _agreed_request(part, content, training=False)
        part.sketch = _sketch(site, request)
        patients = surely_behind(claims.patients for claims in roster)
        empty, states = site.summand(request, judging=client.claims.patients > 0, patients=patients)
        numbers = encode_states(states, empty, roster)
        return stages.masked_reply(client.mask(numbers), told_seconds(time.perf_counter() - start))


def agree(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Sign who is in the sum, if it hides each of them."""
    with _part(site, visit, state) as part:
        signature = part.client.agree(Outcome.from_bytes(stages.read_stage(content)))
        if part.client.header.phase == TRAIN:
            weights = part.weights(visit.job)
            check_shares([weights[name] for name in part.client.survivors], visit.job.strategy.largest_share)
        else:
            left = [part.claims[name] for name in part.client.survivors]
            check_evaluated(left)
            if visit.split:
                check_bins(make_task(visit.job).most_bins, part.claims.values(), left)
        return stages.stage_reply(signature)


def reveal(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Give the shares that unmask the sum, once."""
    with _part(site, visit, state) as part:
        agreement = Agreement.from_bytes(stages.read_stage(content))
        shares = part.client.reveal(agreement)
        if site.sums is not None:
            _remember(site, site.sums, visit, part)
        if site.gate is not None:
            site.gate.unmasked(visit, len(part.client.survivors))
        return stages.stage_reply(shares.to_bytes())


QUERIES: dict[str, Work] = {
    stages.KEYS: advertise,
    stages.SHARES: share,
    stages.INBOX: open_inbox,
    stages.AGREE: agree,
    stages.REVEAL: reveal,
}


def _remember(site: SecureSite, sums: SumBook, visit: Visit, part: Part) -> None:
    """Remember a sum that is about to be unmasked, or refuse it for what its difference to others tells."""
    weights = {name: part.weights(visit.job)[name] for name in part.client.survivors}
    manifest = site.config.dataset(visit.job.job.dataset).collection
    if visit.summed != TRAIN:
        behind = [name for name, weight in weights.items() if weight]
        side = side_of(visit.summed)
        patients = f"{manifest}: {_summed_side(visit.job, side)}"
        sums.sets.take(patients, behind, visit.job.digest(), group=site.group(visit.job, side))
    if visit.summed != STATISTICS:  # they know no model
        sums.take(Summed.of(visit.job, visit.summed, visit.round, part.sketch, manifest), weights)


def _summed_side(job: JobSpec, side: str) -> str:
    """Return under which name sums of a side's patients are remembered.

    Folds are parts of one whole: of each, who trains and who validates are together all who don't test.
    """
    return TRAIN if side == VALIDATION and job.data.fold is not None else side


def _credentials(site: SecureSite) -> Credentials:
    if site.credentials is None:
        raise SecureAggregationError(
            "this site has no certificate to sign its keys with", where=site.config.name
        )
    return replace(site.credentials, identity=site.credentials.newest())


def _check(header: Header, visit: Visit) -> None:
    job: JobSpec = visit.job
    if not job.privacy.secure_aggregation:
        raise SecureAggregationError("the job does not ask for secure aggregation")
    if (header.job, header.round) != (bytes.fromhex(job.digest()), visit.round):
        raise SecureAggregationError("the round of the secure aggregation is of another job or round")
    if header.phase != visit.summed:
        raise SecureAggregationError(f"the sum is of '{header.phase}', and the request of something else")


def _agreed_request(part: Part, content: RecordDict, *, training: bool) -> messages.Request:
    """Return what is asked, if it is what every site has signed; nothing was computed of it yet."""
    request, phase = messages.read_request(content), part.client.header.phase
    if phase == STATISTICS or training != (phase == TRAIN):
        raise SecureAggregationError(f"the sum is of '{phase}', and the request of something else")
    _check_signed(part, phase, request)
    return request


def _check_signed(part: Part, phase: str, asked: messages.Request | messages.Question) -> None:
    header = part.client.header
    if header.phase != phase or context_of(phase, asked) != header.context:
        raise SecureAggregationError(
            "the model, or what comes with it, is not what the sites of this round have signed"
        )


def _sketch(site: SecureSite, request: messages.Request) -> bytes:
    return b"" if site.sums is None else site.sums.sketch(site.model(request))


@contextmanager
def _part(site: SecureSite, visit: Visit, state: RecordDict) -> Iterator[Part]:
    """Take up the sum where the last stage left it; a stage that fails ends the site's part in it."""
    record = state.pop(_STATE, None)
    if record is None:
        raise SecureAggregationError(
            "this site is not in the round: it was restarted or refused a stage, and counts as dropped out"
        )
    credentials = _credentials(site)
    client = SecAggClient.from_bytes(record["state"], credentials.identity, credentials.trust)
    _check(client.header, visit)
    part = Part(client, record["sketch"])
    yield part
    _keep(part, state)


def _keep(part: Part, state: RecordDict) -> None:
    state[_STATE] = ConfigRecord({"state": part.client.to_bytes(), "sketch": part.sketch})
