"""A gateway as a process of its own: `python coordinator.py MODELS UPSTREAM`.

MODELS holds the keys and `registry.json`; UPSTREAM is the address of a stand-in for the SuperLink, or
`flower`.
Prints the two ports once both listen; writes audit entries to MODELS/audit.jsonl.
MODELS/limits.json may change limits.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from server.audit.trail import AuditTrail
from server.folder.coordinator import ANSWERS, MODELS
from server.folder.limits import Limits
from server.gateway.answer_files import AnswersApi
from server.gateway.gateway import Door, Gateway, Routes, listen
from server.gateway.model_files import ModelsApi
from server.gateway.notices import BELL, Bell, hang_bell
from server.superlink.superlink import SuperLink

# Short, so that tests need not wait, but long enough for a busy machine.
LIMITS = Limits(
    connections_each=8,
    handshakes_each=4,
    handshake_s=4.0,
    head_s=3.0,
    idle_s=3.0,
    grace_s=4.0,
    least_rate=65536,
    body_bytes=2**20,
    keep_alive_s=30,
)


@dataclass(frozen=True)
class Row:
    name: str
    public_key: str
    state: str

    @property
    def keys(self) -> frozenset[str]:
        return frozenset({self.public_key})


@dataclass(frozen=True)
class Person:
    name: str
    role: str
    projects: tuple[str, ...] = ()


class FileRegistry:
    """The registry as a JSON file that a test edits while the gateway runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _rows(self) -> dict[str, Row]:
        content = json.loads(self._path.read_text(encoding="utf-8"))
        return {serial: Row(**row) for serial, row in content["sites"].items()}

    def site_of(self, serial: int, public_key) -> Row | None:
        row = self._rows().get(str(serial))
        openssh = public_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        return row if row and row.state == "joined" and row.public_key == openssh else None

    def seen(self, serial: int) -> None:
        pass

    def sites(self) -> list[Row]:
        return list(self._rows().values())

    def person_of(self, token: str) -> Person | None:
        people = json.loads(self._path.read_text(encoding="utf-8"))["people"]
        return Person(*people[token]) if token in people else None


class StandIn:
    """What the gateway asks of a SuperLink, for one that only echoes."""

    healthy = True

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._context = ssl.create_default_context(cafile=folder / "ca.crt")

    def transport(self, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
        return httpx.AsyncHTTPTransport(verify=self._context, limits=limits)

    async def register_node(self, public_key: str, name: str) -> int:
        return 1

    async def nodes(self) -> list[object]:
        return []

    async def keep(self) -> None:
        await asyncio.Event().wait()


def context(folder: Path, *, sites: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_cert_chain(folder / "server.crt", folder / "server.key")
    if sites:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(folder / "ca.crt")
    return made


@requires("researcher")
async def submit(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.user.name} sent {len(await request.body())}")


async def look(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.user.name}")


async def enrol(request: Request) -> PlainTextResponse:
    is_invited = await request.body() == b"invited"
    return PlainTextResponse("yes" if is_invited else "no", 200 if is_invited else 403)


async def renew(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"renewed {len(await request.body())}")


def routes(folder: Path, bell: Bell) -> Routes:
    return Routes(
        people=[Route("/v1/runs", look), Route("/v1/submit", submit, methods=["POST"])],
        public=[Route("/v1/enrol", enrol, methods=["POST"])],
        sites=[
            Route("/v1/renew", renew, methods=["POST"]),
            *ModelsApi(folder / MODELS).site_routes(),
            *AnswersApi(folder / ANSWERS, bell.allowances).site_routes(),
            *bell.allowances.site_routes(),
        ],
    )


async def main(folder: Path, upstream: str) -> None:
    registry = FileRegistry(folder / "registry.json")
    audit = (folder / "audit.jsonl").open("a", encoding="utf-8", buffering=1)
    trail = AuditTrail(lambda event, **fields: audit.write(json.dumps({"event": event, **fields}) + "\n"))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    file = folder / "limits.json"
    limits = LIMITS.model_copy(update=json.loads(file.read_text()) if file.exists() else {})
    doors = [Door(listen("127.0.0.1", 0), context(folder, sites=sites), limits) for sites in (True, False)]
    async with AsyncExitStack() as stack:
        if upstream == "flower":
            link = await stack.enter_async_context(SuperLink(folder / "superlink"))
            (folder / "superlink.pid").write_text(str(link.pid), encoding="utf-8")
        else:
            link = StandIn(upstream, folder)
        bell = await stack.enter_async_context(hang_bell())
        (folder / "bell").write_text(os.environ[BELL], encoding="utf-8")
        parts = routes(folder, bell)
        print(*(door.sock.getsockname()[1] for door in doors), flush=True)
        await Gateway(link, registry, registry, trail, parts, bell=bell).serve(*doors, stop)
    trail.close()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
