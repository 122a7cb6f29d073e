"""The runs over the people's listener, with real TLS and real run folders; Flower is not needed for these."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.audit.log import open_audit
from server.audit.trail import AuditTrail
from server.folder.coordinator import ServerTable, found
from server.folder.limits import PeopleLimits
from server.folder.login import LoginError, load_login, log_in, login_file
from server.gateway.enrolment_api import EnrolmentApi
from server.gateway.gateway import listen
from server.gateway.listener import Listener
from server.gateway.people import build_people_app
from server.gateway.run_desk import RunDesk
from server.gateway.runs_api import RunsApi
from server.registry.people import People
from server.runs.file_copies import write_copy
from server.runs.folder import RunFolder
from server.runs.remote import RemoteCoordinator
from shared.audit.verify import entries
from shared.errors import RunError, WardroundError
from shared.pki.certificates import CredentialError, fingerprint, server_context
from shared.wire.https import CoordinatorError

RUN = "tiny-1"


class Desk:
    """A people's listener over a coordinator's folder, in a thread; it can be cut off and opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = found(folder, ServerTable(name="trial", host="127.0.0.1"), None)
        self.trail = AuditTrail(open_audit(folder).append)
        self.people = People(folder / "registry.sqlite", self.trail.write)
        self.fingerprint = fingerprint(self.authority.certificate)
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def open(self) -> None:
        sock = listen("127.0.0.1", self.port)
        self.port = sock.getsockname()[1]
        api = RunsApi(RunDesk(self.folder / "runs", self._no_flower, self.trail, self.people.project_names))
        enrolment = EnrolmentApi(None, self.authority)  # type: ignore[arg-type]  (nobody enrols here)
        limits = PeopleLimits()
        app = build_people_app(
            self.people,
            self.trail,
            limits,
            lambda: True,
            routes=api.routes(),
            public=enrolment.people_routes(),
        )
        context = server_context(self.folder, sites=False)

        async def serve() -> None:
            self.listener = Listener(app, sock, context, limits, self.trail)
            ready.set()
            await self.listener.serve()

        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self._thread.start()
        ready.wait()

    def cut(self) -> None:
        """Close every connection at once."""
        self.listener.should_exit = self.listener.force_exit = True
        self._thread.join()

    def log_in(self, name: str, role: str, *projects: str) -> RemoteCoordinator:
        token = self.people.add_person(name, role, projects=projects)
        assert log_in(self.url, self.fingerprint, token) == (name, role)
        return RemoteCoordinator(load_login())

    def events(self) -> list[str]:
        return [entry.event for entry in entries(self.folder / "audit")]

    @staticmethod
    def _no_flower() -> None:
        raise AssertionError("nothing may be started")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Desk(tmp_path / "coordinator")
    with closing(made.trail), closing(made.people):
        yield made
        made.cut()


@pytest.fixture
def run(desk: Desk, tiny_job) -> RunFolder:
    made = RunFolder.create(desk.folder / "runs", tiny_job(), RUN)
    made.describe(flower_run=1, researcher="ada")
    made.event("run_started", rounds=3, sites=2)
    (made.path / "model.safetensors").write_bytes(b"weights" * 100_000)
    return made


def test_nothing_is_kept_of_a_log_in_that_fails(desk: Desk, tmp_path: Path) -> None:
    token = desk.people.add_person("ada", "researcher")
    with pytest.raises(CredentialError, match="another authority"):
        log_in(desk.url, "0" * 64, token)
    with pytest.raises(CoordinatorError, match="refused"):
        log_in(desk.url, desk.fingerprint, "x" * 43)
    for url in (
        "http://127.0.0.1",
        "127.0.0.1:9444",
        f"https://ada:{token}@127.0.0.1",
        "https://a/b",
        "https://",
    ):
        with pytest.raises(LoginError, match="is not an address"):
            log_in(url, desk.fingerprint, token)
    with pytest.raises(LoginError, match="not logged in"):
        load_login()
    assert not login_file().exists()
    assert log_in(desk.url, str(desk.folder / "ca" / "ca.crt"), token) == ("ada", "researcher")
    assert token not in repr(load_login())
    login_file().chmod(0o644)
    with pytest.raises(LoginError, match="other users may read"):
        load_login()


def test_watching_goes_on_where_the_connection_was_cut(desk: Desk, run: RunFolder) -> None:
    with run.lock():
        events = desk.log_in("vera", "viewer").follow(RUN)
        assert next(events).kind == "run_started"
        run.event("round_started", round=1)
        assert next(events).round == 1
        desk.cut()
        run.event("round_finished", round=1, dice_global=0.5)
        desk.open()
        found = next(events)
        assert (found.kind, found.data) == ("round_finished", {"dice_global": 0.5})
        run.event("run_finished", round=1)
        run.describe(status="finished")
    assert [event.kind for event in events] == ["run_finished"]


def test_a_run_of_another_version_hides_no_other(desk: Desk, run: RunFolder) -> None:
    old = desk.folder / "runs" / "old-1"
    old.mkdir()
    (old / "job.json").write_text('{"job": {"name": "old", "flavour": "strawberry"}}', encoding="utf-8")
    (old / "run.json").write_text('{"status": "finished"}', encoding="utf-8")
    rows = {row.name: row for row in desk.log_in("vera", "viewer").list()}
    assert set(rows) == {RUN, "old-1"}
    assert rows["old-1"].status == "unreadable"
    assert "flavour" in rows["old-1"].reason


def test_a_run_is_fetched_whole_and_once(desk: Desk, run: RunFolder, tmp_path: Path) -> None:
    vera = desk.log_in("vera", "viewer")
    copy = vera.fetch(RUN, tmp_path / "out")
    names = {path.name for path in run.path.iterdir() if not path.name.startswith(".")}
    assert {path.name for path in copy.iterdir()} == names
    assert all((copy / name).read_bytes() == (run.path / name).read_bytes() for name in names)
    assert desk.events()[-1] == "call"
    assert "run-fetched" in desk.events()
    with pytest.raises(RunError, match="exists already"):
        vera.fetch(RUN, tmp_path / "out")
    run.describe(models={"model.safetensors": "0" * 64})
    with pytest.raises(RunError, match="not the model that the run wrote"):
        vera.fetch(RUN, tmp_path / "second")
    assert list((tmp_path / "second").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "runs/..%2f..%2fregistry.sqlite/files",
        "runs/%2e%2e/files",
        f"runs/{RUN}/files/..%2f..%2f..%2faudit.key",
        f"runs/{RUN}/files/.lock",
        f"runs/{RUN}/files/link.json",
        f"runs/{RUN}/files/model.safetensors%00.json",
    ],
)
def test_no_path_leads_out_of_a_run(desk: Desk, run: RunFolder, path: str) -> None:
    (run.path / "link.json").symlink_to(desk.folder / "server.toml")
    vera = desk.log_in("vera", "viewer")
    answer = vera._client.get(f"{desk.url}/v1/{path}")
    assert answer.status_code in (404, 409)
    assert str(desk.folder) not in answer.text


@pytest.mark.parametrize(
    "name", ["../x.json", "/x.json", ".x.json", "a/b.json", "x.sh", "", "X.json", "x.json\n"]
)
def test_a_copy_is_written_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="is not a name of a run's file"):
        write_copy(tmp_path / "out", RUN, [("run.json", [b"{}"]), (name, [b"x"])])
    with pytest.raises(RunError, match="is not a name of a run"):
        write_copy(tmp_path / "out", f"../{RUN}", [("run.json", [b"{}"])])
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_a_job_is_looked_at_again_and_by_the_right_person(desk: Desk, run: RunFolder, tiny_job) -> None:
    ada, bob = desk.log_in("ada", "researcher"), desk.log_in("bob", "researcher")
    job = json.loads(tiny_job().canonical())
    url = f"{desk.url}/v1/runs"
    forged = ada._client.post(url, json={"job": job, "digest": "0" * 64})
    assert (forged.status_code, "another digest" in forged.json()["error"]) == (400, True)
    job["job"]["rounds"] = -1
    invalid = ada._client.post(url, json={"job": job, "digest": tiny_job().digest()})
    assert (invalid.status_code, "[job] rounds: must be at least 0" in invalid.json()["error"]) == (400, True)
    assert ada._client.post(url, content=b"[" * 100_000).status_code == 400
    with pytest.raises(CoordinatorError, match="only who submitted a run"):
        bob.stop(RUN)
    with pytest.raises(CoordinatorError, match="there is no such run"):
        bob.look("tiny-2")
    with pytest.raises(WardroundError, match="the role viewer may not do this"):
        desk.log_in("vera", "viewer").submit(tiny_job())
    assert "run-submitted" not in desk.events()
    assert desk.events().count("call") >= 6


def test_the_gateway_loads_no_network_library() -> None:
    """A coordinator's gateway is small: PyTorch alone would take 180 MB and seconds."""
    script = (
        "import sys, server.gateway.runs_api, server.service.coordinator_service\n"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.strip() == "False"
