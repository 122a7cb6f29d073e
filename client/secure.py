"""A site's part in secure aggregation: which stage asks for what, and what the site remembers between them.

What it remembers is in Flower's `Context.state`, which a hospital keeps on its disk for each run (see
`client/run_states.py`): a stage that a crash broke off leaves nothing, and its site counts as dropped out. In
a simulation the state travels with the messages inside one machine, since any worker may serve any site.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from numpy.typing import NDArray

from client.distributed_noise import check_resolution
from client.gate import Gate, Visit
from client.site import SiteConfig
from shared import messages
from shared.job import JobSpec
from shared.pki import load_certificate
from shared.privacy.secagg import messages as stages
from shared.privacy.secagg.client import SecAggClient
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.identity import Identity, Trust
from shared.privacy.secagg.records import Agreement, Envelopes, Header, Outcome, Roster

_STATE = "secure-aggregation"


@dataclass(frozen=True)
class Credentials:
    """How a site shows who it is to the other sites, and whom it believes."""

    identity: Identity
    trust: Trust

    @classmethod
    def load(cls, config: SiteConfig, keys: Path) -> Self:
        """Read the credentials from a site's folder `keys`.

        Raises:
            CredentialError: A file is missing or can't be used.
        """
        return cls(Identity.load(config.name, keys), Trust(load_certificate(keys / "ca.crt"), config.peers))


class SecureSite(Protocol):
    """What is needed of a site."""

    config: SiteConfig
    gate: Gate | None
    credentials: Credentials | None
    summed: dict[tuple[bytes, int], bytes]

    def train(self, request: messages.Request) -> messages.Update: ...  # noqa: D102
    def part(self, request: messages.Request, trained: NDArray[np.float32]) -> NDArray[np.float32]: ...  # noqa: D102


Work = Callable[[SecureSite, Visit, RecordDict, RecordDict], RecordDict]
"""(site, visit, content of the message, state) -> content of the reply."""


def advertise(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Begin a round: give the site's signed keys. What was begun before is forgotten."""
    state.pop(_STATE, None)
    header = Header.from_bytes(stages.read_stage(content))
    _check(header, visit)
    credentials = _credentials(site)
    # Of so many sites in every sum the job's honest_sites can be honest: it asks for no more than min_sites.
    least = max(visit.job.strategy.min_sites, site.config.policy.min_sites_in_sum or 0)
    client = SecAggClient(credentials.identity, credentials.trust, header, least=least)
    keys = client.advertise()
    _keep(client, state)
    return stages.stage_reply(keys.to_bytes())


def share(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Check everybody's keys and give sealed shares of the site's secrets."""
    with _round(site, visit, state) as client:
        return stages.stage_reply(client.share(Roster.from_bytes(stages.read_stage(content))).to_bytes())


def open_inbox(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Open the shares of the others."""
    with _round(site, visit, state) as client:
        client.open(Envelopes.from_bytes(stages.read_stage(content)))
    return stages.stage_reply(stages.OPENED)


def train(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Train, and give the masked update. Examples and loss are inside of it, not beside it."""
    with _round(site, visit, state) as client:
        request = messages.read_request(content)
        if visit.job.privacy.noise == "distributed":
            check_resolution(visit.job, visit.round, request.vector, client.codec)
        update = site.train(request)
        weight = 1 if visit.job.strategy.weight == "equal" else update.examples
        masked = client.mask(client.codec.encode(site.part(request, update.vector), weight, update.loss))
        return stages.masked_reply(masked, update.seconds)


def agree(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Sign who is in the sum."""
    with _round(site, visit, state) as client:
        return stages.stage_reply(client.agree(Outcome.from_bytes(stages.read_stage(content))))


def reveal(site: SecureSite, visit: Visit, content: RecordDict, state: RecordDict) -> RecordDict:
    """Give the shares that unmask the sum, once a round."""
    with _round(site, visit, state) as client:
        agreement = Agreement.from_bytes(stages.read_stage(content))
        _refuse_another_sum(site, client)
        shares = client.reveal(agreement)
        if site.gate is not None:
            site.gate.unmasked(visit, len(client.survivors))
        return stages.stage_reply(shares.to_bytes())


QUERIES: dict[str, Work] = {
    stages.KEYS: advertise,
    stages.SHARES: share,
    stages.INBOX: open_inbox,
    stages.AGREE: agree,
    stages.REVEAL: reveal,
}


def _credentials(site: SecureSite) -> Credentials:
    if site.credentials is None:
        raise SecureAggregationError(
            "this site has no certificate to sign its keys with", where=site.config.name
        )
    return site.credentials


def _check(header: Header, visit: Visit) -> None:
    job: JobSpec = visit.job
    if not job.privacy.secure_aggregation:
        raise SecureAggregationError("the job does not ask for secure aggregation")
    if (header.job, header.round) != (bytes.fromhex(job.digest()), visit.round):
        raise SecureAggregationError("the round of the secure aggregation is of another job or round")


@contextmanager
def _round(site: SecureSite, visit: Visit, state: RecordDict) -> Iterator[SecAggClient]:
    """Take up the round where the last stage left it; a stage that fails ends the site's part in it."""
    record = state.pop(_STATE, None)
    if record is None:
        raise SecureAggregationError(
            "this site is not in the round: it was restarted or refused a stage, and counts as dropped out"
        )
    credentials = _credentials(site)
    client = SecAggClient.from_bytes(record["state"], credentials.identity, credentials.trust)
    _check(client.header, visit)
    yield client
    _keep(client, state)


def _keep(client: SecAggClient, state: RecordDict) -> None:
    state[_STATE] = ConfigRecord({"state": client.to_bytes()})


def _refuse_another_sum(site: SecureSite, client: SecAggClient) -> None:
    """Let a round that is repeated be summed again over the same sites only.

    Training gives the same update again, so the difference of two sums would be that of the sites by which
    they differ.
    """
    digest = hashlib.sha256(" ".join(client.survivors).encode()).digest()
    if site.summed.setdefault((client.header.job, client.header.round), digest) != digest:
        raise SecureAggregationError(
            "this round was summed before over other sites; the difference would show single updates"
        )
