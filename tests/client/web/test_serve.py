"""The hospital's page as a program: where it listens, and what it prints."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cli import started, wardround
from tests.client.web.hospital import Hospital


def test_only_this_machine_is_listened_to(hospital: Hospital) -> None:
    for address in ("0.0.0.0", "::", "10.1.2.3", "example.org"):  # noqa: S104 (that is what is refused)
        ended = wardround("client", "page", "--address", address, "--dir", hospital.folder)
        assert ended.returncode == 2
        assert "is not an address of this machine's loopback" in ended.stderr


def test_a_folder_of_no_site_says_what_to_do(tmp_path: Path) -> None:
    ended = wardround("client", "page", "--dir", tmp_path)
    assert ended.returncode == 2
    assert "wardround client enrol" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_said(hospital: Hospital, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = wardround("client", "page", "--port", port, "--dir", hospital.folder)
    assert ended.returncode == 2
    assert str(port) in ended.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_link_is_printed_once_and_never_logged(hospital: Hospital, end: signal.Signals) -> None:
    command = [sys.executable, "-m", "wardround", "client", "page", "--dir", str(hospital.folder)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        link = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        token = link.rpartition("/")[2]
        assert {place.laddr.ip for place in psutil.Process(process.pid).net_connections()} == {"127.0.0.1"}
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=300) as client:
            assert "Waiting for your decision" in client.get(link).text
            assert client.get(link).status_code == 403
            assert client.get(link, headers={"host": "evil.example"}).status_code == 421
        process.send_signal(end)
        rest, complaints = process.communicate()
    assert token not in rest + complaints
    assert not complaints
    assert process.returncode in (0, -signal.SIGTERM)


def test_a_page_that_only_waits_for_jobs_loads_no_network_library() -> None:
    """It is open all day: PyTorch and the readers of images, 500 MB, come with the first job looked at."""
    script = "import sys, client.web.serve; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(ended.stdout.split()) & {"torch", "monai", "scipy", "nibabel", "pydicom"}
