"""Sites with certificates of one authority, and a coordinator that carries their messages through a round."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, derive_private_key

from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request
from shared.privacy.secagg.claims import Claims
from shared.privacy.secagg.client import SecAggClient
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.fixed_point import Mean
from shared.privacy.secagg.identity import Identity, Trust
from shared.privacy.secagg.records import (
    TRAIN,
    Agreement,
    Envelopes,
    Header,
    KeyMessage,
    Outcome,
    Reveal,
    Roster,
)
from shared.privacy.secagg.server import SecAggServer

SIZE = 50
HEADER = Header(b"j" * 32, 7, b"s" * 32, TRAIN, b"c" * 32)
STAGES = ("keys", "shares", "masked", "agree", "reveal")


def claims_of(weight: int) -> Claims:
    return Claims(weight, weight)


@dataclass
class Round:
    """A round in one process; every message passes through bytes, as on a network.

    Attributes:
        saw: All that the coordinator has seen, by stage and site.
        held: The shares that each site was sent.
        tamper: Called with stage, site and what would go out to the site; returns what does.
    """

    clients: dict[str, SecAggClient]
    server: SecAggServer
    vectors: dict[str, np.ndarray]
    weights: dict[str, int]
    losses: dict[str, float]
    saw: dict[tuple[str, str], object] = field(default_factory=dict)
    held: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    tamper: Callable[[str, str, object], object] = lambda _stage, _site, sent: sent

    def run(self, dropouts: dict[str, Collection[str]] | None = None) -> Mean:
        """Carry a round through; `dropouts` says who is gone from which stage on."""
        gone: set[str] = set()
        steps = {
            "keys": (lambda site: None, self._advertise),
            "shares": (lambda site: self.server.roster(), self._share),
            "masked": (lambda site: self.server.inboxes()[site], self._mask),
            "agree": (lambda site: self.server.outcome(), self._agree),
            "reveal": (lambda site: self.server.agreement(), self._reveal),
        }
        present = list(self.clients)
        for stage, (asked, answer) in steps.items():
            gone |= set((dropouts or {}).get(stage, ()))
            questions = {site: asked(site) for site in present}  # all go out before any answer comes
            answered = []
            for site, question in questions.items():
                if site in gone:
                    continue
                try:
                    answer(site, self.tamper(stage, site, question))
                except SecureAggregationError as error:
                    self.refusals[site] = str(error)
                else:
                    answered.append(site)
            present = answered
        return self.server.mean()

    def expected(self, sites: Collection[str]) -> np.ndarray:
        chosen = sorted(sites)
        return np.average(
            [self.vectors[site].astype(float) for site in chosen],
            axis=0,
            weights=[self.weights[site] for site in chosen],
        )

    def reopened(self, site: str) -> SecAggClient:
        """Return a site's machine after a way through bytes: what it must remember is in them."""
        old = self.clients[site]
        self.clients[site] = SecAggClient.from_bytes(old.to_bytes(), old._identity, old._trust)
        return self.clients[site]

    def _advertise(self, site: str, _: object) -> None:
        sent = self.clients[site].advertise().to_bytes()
        self.saw["keys", site] = sent
        self.server.take_keys(site, KeyMessage.from_bytes(sent))

    def _share(self, site: str, roster: Roster) -> None:
        sent = self.reopened(site).share(Roster.from_bytes(roster.to_bytes())).to_bytes()
        self.saw["shares", site] = sent
        self.server.take_shares(site, Envelopes.from_bytes(sent))

    def _mask(self, site: str, inbox: Envelopes) -> None:
        client = self.reopened(site)
        client.open(Envelopes.from_bytes(inbox.to_bytes()))
        encoded = client.codec.encode(self.vectors[site], self.weights[site], self.losses[site])
        self.held[site] = dict(client._held)
        masked = client.mask(encoded)
        self.saw["masked", site] = masked.copy()
        self.server.take_masked(site, masked)

    def _agree(self, site: str, outcome: Outcome) -> None:
        signature = self.reopened(site).agree(Outcome.from_bytes(outcome.to_bytes()))
        self.saw["agree", site] = signature
        self.server.take_signature(site, signature)

    def _reveal(self, site: str, agreement: Agreement) -> None:
        sent = self.reopened(site).reveal(Agreement.from_bytes(agreement.to_bytes())).to_bytes()
        self.saw["reveal", site] = sent
        self.server.take_reveal(site, Reveal.from_bytes(sent))


@dataclass
class Hospitals:
    """Fifty sites with certificates; making them once is enough."""

    authority: Authority
    identities: dict[str, Identity]

    @property
    def trust(self) -> Trust:
        return Trust(self.authority.certificate)

    def round(self, count: int, seed: int = 0, least: int = 3, header: Header = HEADER) -> Round:
        generator = np.random.default_rng(seed)
        names = list(self.identities)[:count]
        weights = {name: int(generator.integers(1, 500)) for name in names}
        clients = {
            name: SecAggClient(self.identities[name], self.trust, header, claims_of(weight), least=least)
            for name, weight in weights.items()
        }
        return Round(
            clients,
            SecAggServer(header, SIZE, least),
            {name: generator.normal(0, 1, SIZE).astype(np.float32) for name in names},
            weights,
            {name: float(generator.uniform(0, 3)) for name in names},
        )


def certified(authority: Authority, name: str, number: int) -> Identity:
    key = derive_private_key(number, SECP384R1())
    return Identity(name, key, authority.sign_site(certificate_request(key, name), name))


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory) -> Hospitals:
    authority = Authority.create(Path(tmp_path_factory.mktemp("ca")), "test", "127.0.0.1")
    names = [f"site-{number:02d}" for number in range(50)]
    return Hospitals(authority, {name: certified(authority, name, 1000 + i) for i, name in enumerate(names)})


@pytest.fixture(scope="session")
def certify() -> Callable[[Authority, str, int], Identity]:
    return certified
