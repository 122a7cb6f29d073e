"""The real flower-superlink under supervision."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.superlink import superlink as module
from server.superlink.superlink import Patience, SuperLink, SuperLinkError, socket_of
from tests.cli import started
from tests.full_disk import full_disk

PROJECT = Path(__file__).parents[3]
PARENT = """
import asyncio, sys
from pathlib import Path
from server.superlink.superlink import SuperLink

async def main():
    async with SuperLink(Path(sys.argv[1])) as superlink:
        print(superlink.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


HEALTHY = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    peer, _ = listener.accept()
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
    peer.close()
"""


INTRUDER = """
import os, sys
from pathlib import Path
import httpx
from shared.flower.runs import Runs

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    with Runs(Path(sys.argv[1])) as runs:
        print("started", runs.start("{}", "evil", researcher="", resume=False))
except (OSError, httpx.HTTPError) as error:
    print("refused:", error)
"""


def public_key() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def descendants(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps a SuperLink and prints its number once it serves."""
    with started(
        [sys.executable, "-c", PARENT, tmp_path / "superlink"],
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    ) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_it_serves_comes_back_after_a_kill_and_stops(tmp_path: Path) -> None:
    folder = tmp_path / "superlink"
    folder.mkdir(mode=0o755)  # a folder that others can enter is closed
    first_key, second_key = public_key(), public_key()

    async def scenario() -> None:
        async with SuperLink(folder) as superlink:
            assert superlink.healthy
            first = await superlink.register_node(first_key, "st-mary")
            assert await superlink.register_node(first_key, "st-mary") == first

            pid = superlink.pid
            assert pid is not None
            family = descendants(pid)
            os.kill(pid, signal.SIGKILL)
            while superlink.pid == pid:
                await asyncio.sleep(0.01)
            await superlink.wait_healthy()
            assert superlink.starts == 2

            assert await superlink.nodes() == []  # whoever is still welcome registers again
            await superlink.register_node(first_key, "st-mary")
            second = await superlink.register_node(second_key, "st-luke")
            nodes = await superlink.nodes()
            assert {node.name for node in nodes} == {"st-mary", "st-luke"}
            assert {node.status for node in nodes} == {"registered"}

            await superlink.unregister_node(second)
            assert {node.node_id: node.status for node in await superlink.nodes()}[second] == "unregistered"
            with pytest.raises(ValueError, match="needs a new key"):
                await superlink.register_node(second_key, "st-luke")

            with pytest.raises(SuperLinkError, match="another coordinator"):
                async with SuperLink(folder):
                    pass

            assert superlink.pid is not None
            family += descendants(superlink.pid)
            transport = superlink.transport(httpx.Limits())
            async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                assert (await client.get(f"{superlink.url}/health")).is_success
            assert stat.S_IMODE(superlink.socket.stat().st_mode) == 0o600
            listening = [
                connection
                for process in descendants(superlink.pid)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
            assert listening == []
        psutil.wait_procs(family)

    asyncio.run(scenario())
    assert stat.S_IMODE((folder / "console.log").stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.glob("*.sock")) == []


@pytest.mark.slow
def test_no_orphan_when_the_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    family = descendants(int(parent.stdout.readline()))
    parent.kill()
    psutil.wait_procs(family)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_another_user_of_the_machine_does_not_reach_it() -> None:
    async def scenario(folder: Path) -> bytes:
        async with SuperLink(folder) as superlink:
            folder.parent.chmod(0o755)
            command = [sys.executable, "-c", INTRUDER, str(superlink.socket)]
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, cwd=PROJECT, env={"PYTHONPATH": str(PROJECT)}
            )
            said, _ = await process.communicate()
            return said

    with tempfile.TemporaryDirectory() as scratch:
        said = asyncio.run(scenario(Path(scratch) / "superlink"))
    assert b"refused: [Errno 13] Permission denied" in said


def test_neither_the_superlink_nor_a_run_is_told_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDROUND_CA_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    async def scenario() -> dict[str, str]:
        async with SuperLink(tmp_path / "superlink") as superlink:
            return psutil.Process(superlink.pid).environ()

    told = asyncio.run(scenario())
    assert not [name for name, value in told.items() if str(tmp_path / "passphrase") in value]
    assert "CREDENTIALS_DIRECTORY" not in told


def test_a_superlink_that_does_not_start_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROGRAM", ("/bin/sh", "-c", "echo no such option; exit 2"))
    link = tmp_path / "superlink"

    async def scenario() -> None:
        async with SuperLink(link, Patience(first_pause=0.01, launches=2)):
            pass

    with pytest.raises(SuperLinkError, match=r"console\.log.*ended with status 2"):
        asyncio.run(scenario())
    assert "no such option" in (link / "console.log").read_text(encoding="utf-8")


def test_a_full_disk_is_said_at_the_start_and_waited_out_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", HEALTHY))
    folder = tmp_path / "superlink"

    async def scenario() -> None:
        with full_disk(), pytest.raises(SuperLinkError, match=r"File too large\)\s+Make room") as refused:
            async with SuperLink(folder):
                pass
        assert "resume" not in str(refused.value)
        async with SuperLink(folder, Patience(first_pause=0.01)) as superlink:
            with full_disk():
                os.kill(superlink.pid, signal.SIGKILL)
                while "make room" not in caplog.text:
                    await asyncio.sleep(0.01)
            await superlink.wait_healthy()
            assert socket_of(folder) == superlink.socket

    asyncio.run(scenario())


def test_its_log_begins_anew_where_it_has_grown_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LOG", 10)
    console, link = tmp_path / "console.log", SuperLink(tmp_path)
    with console.open("a") as process:
        process.write("short\n")
        process.flush()
        link._rotate()
        assert console.read_text() == "short\n"
        process.write("and longer\n")
        process.flush()
        link._rotate()
        process.write("then\n")  # by the same process
    assert (tmp_path / "console.1.log").read_text() == "short\nand longer\n"
    assert console.read_text() == "then\n"


def test_pauses_grow_with_jitter_up_to_a_limit() -> None:
    patience = Patience(first_pause=1, longest_pause=8)
    for failures, longest in ((1, 1), (2, 2), (4, 8), (40, 8)):
        pauses = {patience.pause(failures) for _ in range(50)}
        assert len(pauses) > 1
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
