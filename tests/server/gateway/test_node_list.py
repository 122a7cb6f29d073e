"""Flower's list of nodes follows the registry: who may come stays in it, with whichever key it may come."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509 import Certificate

from server.gateway.node_list import Roster
from server.registry.enrolment import Registry
from shared.flower.control import NodeInfo
from shared.pki.authority import Authority
from shared.pki.certificate_requests import certificate_request, renewal_statement
from shared.pki.certificates import new_key, openssh, pem_of

SITE = "st-mary"


@dataclass
class SuperLink:
    """Keeps the nodes as Flower does; it forgets them with `nodes_by_key.clear()`, as a restart does."""

    nodes_by_key: dict[str, NodeInfo] = field(default_factory=dict)
    url: str = ""

    async def register_node(self, public_key: str, name: str) -> int:
        number = len(self.nodes_by_key) + 1
        self.nodes_by_key.setdefault(public_key, NodeInfo(number, name, "offline", public_key, None))
        return number

    async def unregister_node(self, node_id: int) -> None:
        self.nodes_by_key = {key: n for key, n in self.nodes_by_key.items() if n.node_id != node_id}

    async def nodes(self) -> list[NodeInfo]:
        return list(self.nodes_by_key.values())


def renewed(
    registry: Registry, authority: Authority, current: Certificate, key: EllipticCurvePrivateKey
) -> tuple[Certificate, EllipticCurvePrivateKey]:
    """Renew a certificate with a new key, as a person does beside the running service."""
    wanted = new_key()
    request = certificate_request(wanted, SITE)
    signature = key.sign(renewal_statement(request), ECDSA(SHA384()))
    return registry.renew(pem_of(current), request, signature, authority), wanted


def test_a_key_counts_until_a_newer_one_was_used(tmp_path: Path) -> None:
    asyncio.run(follow_a_new_key(tmp_path))


async def follow_a_new_key(tmp_path: Path) -> None:
    Registry.create(tmp_path / "registry.sqlite")
    registry = Registry(tmp_path / "registry.sqlite", lambda *_, **__: None)
    authority = Authority.in_memory(new_key(), "lung-eu", "127.0.0.1")
    superlink = SuperLink()
    roster = Roster(superlink, registry)  # type: ignore[arg-type]
    old = new_key()
    first = registry.redeem(registry.invite(SITE), certificate_request(old, SITE), authority)
    newer, new = renewed(registry, authority, first, old)

    async def comes(certificate: Certificate, key: EllipticCurvePrivateKey) -> None:
        site = registry.site_of(certificate.serial_number, key.public_key())
        assert site is not None
        await roster.admit(site.name, openssh(key.public_key()))
        await roster.sweep()

    await comes(first, old)  # its service has not taken up the new key yet
    superlink.nodes_by_key.clear()  # and the SuperLink was restarted
    await comes(first, old)
    assert set(superlink.nodes_by_key) == {openssh(old.public_key())}
    await comes(newer, new)
    registry.seen(newer.serial_number)
    await roster.sweep()
    assert set(superlink.nodes_by_key) == {openssh(new.public_key())}
    assert registry.site_of(first.serial_number, old.public_key()) is None
    registry.close()
