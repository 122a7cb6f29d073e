"""What secure aggregation costs a site and the coordinator, beside plain aggregation of the same updates.

Every site of a round does all of its part, one after the other in one process on one core; training and
network are left out. Seconds are those of the processor, which a busy machine does not stretch. Limits: masks
expand at no less than 300 MB of key stream a second; the hash of a sum that anybody can check takes at most
0.5 µs for each parameter.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from common import conditions, finish
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.client import SecAggClient
from shared.privacy.secagg.graph import DEGREE
from shared.privacy.secagg.masks import add_masks
from shared.privacy.secagg.records import TRAIN, Header
from shared.privacy.secagg.server import SecAggServer
from shared.privacy.secagg.sum_hash import hash_of
from shared.strategies.exact_mean import ExactMean
from simulate.session.credentials import simulated_credentials

T = TypeVar("T")
RATE_LIMIT = 300e6  # bytes of key stream a second
HASH_LIMIT = 0.5  # µs for each parameter
DROPOUTS = (0.0, 0.1, 0.3)
WEIGHT = 200


@dataclass(frozen=True)
class Plan:
    """How much to run."""

    parameters: int
    sites: tuple[int, ...]


FULL = Plan(10_000_000, (3, 10, 17, 50))
QUICK = Plan(100_000, (3, 20))


@dataclass
class Cost:
    """What a round took, with secure aggregation and without.

    Attributes:
        site_seconds: Of each surviving site.
        site_sent: Bytes that a surviving site sends.
        site_received: Bytes that it receives, besides the model.
    """

    sites: int
    dropped: int
    site_seconds: dict[str, float] = field(default_factory=dict)
    site_sent: int = 0
    site_received: int = 0
    coordinator_seconds: float = 0.0
    coordinator_bytes: int = 0
    plain_seconds: float = 0.0
    plain_bytes: int = 0

    def row(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "sites": self.sites,
            "dropped": self.dropped,
            "site_seconds": round(statistics.median(self.site_seconds.values()), 3),
            "site_sent": self.site_sent,
            "site_received": self.site_received,
            "coordinator_seconds": round(self.coordinator_seconds, 3),
            "coordinator_bytes": self.coordinator_bytes,
            "plain_coordinator_seconds": round(self.plain_seconds, 3),
            "plain_coordinator_bytes": self.plain_bytes,
        }


class Meter:
    """Carries the messages of one round, as bytes, and notes times and sizes."""

    def __init__(self, plan: Plan, sites: int, dropped: int) -> None:
        self.cost = Cost(sites, dropped)
        self._names = [f"site-{number:03d}" for number in range(sites)]
        self._leavers = set(self._names[:dropped])
        self._header = Header(b"j" * 32, 1, b"s" * 32, TRAIN, b"c" * 32)
        self._server = SecAggServer(self._header, plan.parameters)
        self._update = np.random.default_rng(0).normal(0, 0.05, plan.parameters).astype(np.float32)
        self._clients = {name: self._client(name) for name in self._names}

    def _client(self, name: str) -> SecAggClient:
        credentials = simulated_credentials(name)
        claims = Claims(WEIGHT, WEIGHT)
        return SecAggClient(credentials.identity, credentials.trust, self._header, claims, least=3)

    def run(self) -> Cost:
        """Carry the round through; the leavers go when it would be their turn to send an update."""
        server = self._server
        messages = {name: self._site(name, client.advertise) for name, client in self._clients.items()}
        for name, message in messages.items():
            self._sent(name, len(message.to_bytes()))
            server.take_keys(name, message)
        roster = self._coordinator(server.roster)
        for name, client in self._clients.items():
            self._received(name, len(roster.to_bytes()))
            shares = self._site(name, client.share, roster)
            self._sent(name, len(shares.to_bytes()))
            server.take_shares(name, shares)
        inboxes = self._coordinator(server.inboxes)
        survivors = [name for name in self._names if name not in self._leavers]
        for name, client in self._clients.items():
            self._received(name, len(inboxes[name].to_bytes()))
            self._site(name, client.open, inboxes[name])
        for name in survivors:
            masked = self._site(name, self._masked, self._clients[name])
            self._sent(name, masked.nbytes)
            self._coordinator(server.take_masked, name, masked)
        self._finish(survivors)
        return self.cost

    def _finish(self, survivors: list[str]) -> None:
        server, clients = self._server, self._clients
        outcome = self._coordinator(server.outcome)
        for name in survivors:
            self._received(name, len(outcome.to_bytes()))
            signature = self._site(name, clients[name].agree, outcome)
            self._sent(name, len(signature))
            server.take_signature(name, signature)
        agreement = self._coordinator(server.agreement)
        for name in survivors:
            self._received(name, len(agreement.to_bytes()))
            shares = self._site(name, clients[name].reveal, agreement)
            self._sent(name, len(shares.to_bytes()))
            self._coordinator(server.take_reveal, name, shares)
        mean = self._coordinator(server.mean)
        assert np.allclose(mean.vector, self._update, atol=1e-7)
        self.cost.site_seconds = {name: self.cost.site_seconds[name] for name in survivors}
        self._plain(len(survivors))

    def _masked(self, client: SecAggClient) -> NDArray[np.uint64]:
        return client.mask(client.codec.encode(self._update, WEIGHT, 0.5))

    def _plain(self, survivors: int) -> None:
        start = time.process_time()
        mean = ExactMean(self._update.size)
        for _ in range(survivors):
            mean.add(self._update, WEIGHT)
        mean.mean()
        self.cost.plain_seconds = time.process_time() - start
        self.cost.plain_bytes = survivors * self._update.nbytes

    def _site(self, name: str, work: Callable[..., T], *arguments: object) -> T:
        start = time.process_time()
        result = work(*arguments)
        spent = time.process_time() - start
        self.cost.site_seconds[name] = self.cost.site_seconds.get(name, 0.0) + spent
        return result

    def _coordinator(self, work: Callable[..., T], *arguments: object) -> T:
        start = time.process_time()
        result = work(*arguments)
        self.cost.coordinator_seconds += time.process_time() - start
        return result

    def _sent(self, name: str, count: int) -> None:
        self.cost.coordinator_bytes += count
        if name == self._names[-1]:
            self.cost.site_sent += count

    def _received(self, name: str, count: int) -> None:
        self.cost.coordinator_bytes += count
        if name == self._names[-1]:
            self.cost.site_received += count


def stream_rate(size: int) -> float:
    """Return the bytes of key stream that are expanded and added in a second; the best of five."""
    values = np.zeros(size, dtype=np.uint64)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        add_masks(values, [bytes(16)], [])
        seconds.append(time.process_time() - start)
    return values.nbytes / min(seconds)


def main() -> None:
    """Measure, print the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run, held to no figure")
    quick = parser.parse_args().quick
    plan = QUICK if quick else FULL
    before = conditions()
    rate = stream_rate(plan.parameters)
    costs = [
        Meter(plan, sites, int(share * sites)).run()
        for sites in plan.sites
        for share in DROPOUTS
        if share == 0.0 or int(share * sites) > 0
    ]
    rows = [cost.row() for cost in costs]
    Console(width=140).print(table_of(plan, rate, rows))
    each = hash_microseconds(plan.parameters)
    Console().print(
        f"verifiable_sum: {each:.2f} µs of a core for each parameter, at each site and to check a sum"
    )
    missed = [f"masks expand at {rate / 1e6:.0f} MB/s"] if rate < RATE_LIMIT else []
    missed += [f"a hash takes {each:.2f} µs for each parameter"] if each > HASH_LIMIT else []
    figures = {
        "parameters": plan.parameters,
        "key_stream_mb_per_second": round(rate / 1e6, 1),
        "masks_of_a_site_at_most": DEGREE,
        "hash_microseconds_each": round(each, 3),
        "rounds": rows,
    }
    finish("secure_aggregation", {**before, **figures}, missed, quick=quick)


def hash_microseconds(parameters: int) -> float:
    """Return what the hash of a contribution takes for each of its numbers."""
    numbers = np.random.default_rng(0).normal(0, 2.0**44, parameters).astype(np.int64).view(np.uint64)
    start = time.process_time()
    hash_of(numbers, "a job's digest")
    return (time.process_time() - start) / parameters * 1e6


def table_of(plan: Plan, rate: float, rows: list[dict[str, Any]]) -> Table:
    """Return a row for each number of sites and dropouts."""
    title = f"{plan.parameters:,} parameters; {rate / 1e6:.0f} MB of key stream a second"
    table = Table(title=title)
    for heading in (
        "sites",
        "dropped",
        "site CPU s",
        "site sends MB",
        "gets kB",
        "coordinator CPU s",
        "plain CPU s",
        "MB",
        "plain MB",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row["sites"]),
            str(row["dropped"]),
            f"{row['site_seconds']:.2f}",
            f"{row['site_sent'] / 1e6:.1f}",
            f"{row['site_received'] / 1e3:.1f}",
            f"{row['coordinator_seconds']:.2f}",
            f"{row['plain_coordinator_seconds']:.2f}",
            f"{row['coordinator_bytes'] / 1e6:.0f}",
            f"{row['plain_coordinator_bytes'] / 1e6:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
