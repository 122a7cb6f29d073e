"""The real flower-superlink under supervision."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server import superlink as module
from server.superlink import Patience, SuperLink, SuperLinkError

PROJECT = Path(__file__).parents[2]
PARENT = """
import asyncio, sys
from pathlib import Path
from server.superlink import SuperLink

async def main():
    async with SuperLink(Path(sys.argv[1])) as superlink:
        print(superlink.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
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
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "superlink")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    ) as process:
        yield process
        process.kill()


@pytest.mark.slow
def test_it_serves_comes_back_after_a_kill_and_stops(tmp_path: Path) -> None:
    folder = tmp_path / "superlink"
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
            await asyncio.wait_for(superlink.wait_healthy(), 60)
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
            url, context = superlink.url, superlink.tls.context
            async with httpx.AsyncClient(verify=context, trust_env=False) as client:
                assert (await client.get(f"{url}/health")).is_success
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive

    asyncio.run(scenario())
    for name in ("loopback.key", "superlink.log"):
        assert stat.S_IMODE((folder / name).stat().st_mode) & 0o077 == 0, name


@pytest.mark.slow
def test_no_orphan_when_the_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    family = descendants(int(parent.stdout.readline()))
    assert len(family) > 1, "flower-superexec is expected below flower-superlink"
    parent.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_a_superlink_that_does_not_start_is_an_error_that_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "flower-superlink"
    program.write_text("#!/bin/sh\necho no such option\nexit 2\n", encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setattr(module, "PROGRAM", program)
    link = tmp_path / "superlink"

    async def scenario() -> None:
        async with SuperLink(link, Patience(first_pause=0.01, launches=2)):
            pass

    with pytest.raises(SuperLinkError, match=r"console\.log.*ended with status 2"):
        asyncio.run(scenario())
    assert "no such option" in (link / "console.log").read_text(encoding="utf-8")


def test_pauses_grow_with_jitter_up_to_a_limit() -> None:
    patience = Patience(first_pause=1, longest_pause=8)
    for failures, longest in ((1, 1), (2, 2), (4, 8), (40, 8)):
        pauses = {patience.pause(failures) for _ in range(50)}
        assert len(pauses) > 1
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
