"""People are told what happened: by real programs, real HTTP and mail servers, over real TLS."""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from pydantic import ValidationError

from shared.notify.channels import send
from shared.notify.event import FIELDS, Event
from shared.notify.messenger import Messenger, Teller
from shared.notify.outbox import Outbox
from shared.notify.ready import channels_ready
from shared.notify.settings import NotifyError, NotifyTable
from shared.pki.authority import Authority
from shared.pki.certificates import new_key, pem_of, save_key, server_context
from simulate.federation.processes import free_ports
from tests.cli import wardround
from tests.proxy import Proxy

PROJECT = Path(__file__).parents[3]
SECRET = "a-secret-of-many-letters"  # noqa: S105
PASSWORD = "a-password-nobody-knows"  # noqa: S105
SOURCE = "/wardround/site/st-mary"


def an_event() -> Event:
    return Event.of(SOURCE, "job-waits", job="ab" * 32, name="lung", researcher="jane")


class Receiver:
    """A webhook's receiver: keeps what arrives, and answers what the test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.arrived = threading.Semaphore(0)
        self.answers = threading.Event()
        self.answers.set()

    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for _, body in self.requests]


@contextmanager
def receiving(context: Any = None) -> Iterator[tuple[Receiver, int]]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.requests.append(({key.lower(): value for key, value in self.headers.items()}, body))
            receiver.arrived.release()
            receiver.answers.wait(60)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver, server.server_port
        finally:
            receiver.answers.set()
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an authority and a server's certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority.create(folder / "ca", "fed", "127.0.0.1")
    key = new_key()
    (folder / "tls").mkdir()
    save_key(folder / "tls" / "server.key", key)
    (folder / "tls" / "server.crt").write_bytes(pem_of(authority.sign_server(key.public_key(), "127.0.0.1")))
    return folder


def secret_file(folder: Path, text: str = SECRET) -> str:
    file = folder / "secret"
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return f"file:{file}"


def webhook(url: str, folder: Path, **more: object) -> NotifyTable:
    return NotifyTable.model_validate({"webhook": {"url": url, "secret": secret_file(folder), **more}})


# What an event says


@pytest.mark.parametrize("kind", FIELDS)
def test_an_event_says_what_is_on_its_list_and_nothing_else(kind: str) -> None:
    with pytest.raises(ValueError, match="may not hold patient"):
        Event.of(SOURCE, kind, patient="Maier")
    event = Event.of(SOURCE, kind)
    assert event.text()
    assert Event.parse(event.cloud_event()) == event


def test_what_looks_like_a_patient_a_file_or_a_secret_is_cleared() -> None:
    reason = "st-mary: /data/Maier_Hans_1961/scan.dcm can't be read; token 9f8a7b6c5d4e3f2a1b0c of 12345678"
    failed = Event.of(SOURCE, "run-failed", run="lung-1", reason=reason, researcher="Hans Maier <h@x.org>")
    said = failed.cloud_event()
    for hidden in ("Maier", "Hans", "1961", "scan.dcm", "9f8a7b", "12345678", "x.org"):
        assert hidden not in said
    assert "can't be read" in said
    assert "lung-1" in failed.text()


# Channels


def test_a_command_sees_no_secret_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDROUND_WEBHOOK_SECRET", SECRET)
    script = "import os, sys; open(sys.argv[1], 'w').write(repr(os.environ))"
    program = [sys.executable, "-c", script, str(tmp_path / "seen")]
    send(NotifyTable.model_validate({"command": {"run": program}}), "command", an_event())
    assert "PATH" in (tmp_path / "seen").read_text()
    assert SECRET not in (tmp_path / "seen").read_text()


def test_a_command_reads_the_event_and_no_shell_reads_the_command(tmp_path: Path) -> None:
    out = tmp_path / "out; touch x"
    program = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(out)]
    event = an_event()
    send(NotifyTable.model_validate({"command": {"run": program}}), "command", event)
    told = json.loads(out.read_text())
    assert (told["specversion"], told["id"], told["source"]) == ("1.0", event.id, SOURCE)
    assert (told["type"], told["data"]["name"]) == ("wardround.job-waits", "lung")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (["/nowhere/tell"], "can't be started"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "ended with code 3"),
        (["/bin/sh", "-c", "sleep 1000 & sleep 1000"], "took longer than 0.2 s and was killed"),
    ],
)
def test_a_command_that_does_not_work(program: list[str], problem: str) -> None:
    table = NotifyTable.model_validate(
        {"command": {"run": program, "seconds": 0.2 if "sh" in program[0] else 30}}
    )
    with pytest.raises(NotifyError, match=problem):
        send(table, "command", an_event())


def test_a_webhook_is_a_signed_cloud_event_over_checked_tls(tls: Path, tmp_path: Path) -> None:
    with receiving(server_context(tls, sites=False)) as (receiver, port):
        url, event = f"https://127.0.0.1:{port}/hook", an_event()
        send(webhook(url, tmp_path, authority=str(tls / "ca" / "ca.crt")), "webhook", event)
        [(headers, body)] = receiver.requests
        assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert json.loads(body) == json.loads(event.cloud_event())
        assert headers["webhook-id"] == event.id
        signed = f"{event.id}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        with pytest.raises(NotifyError, match="can't be reached"):  # the system does not know this authority
            send(webhook(url, tmp_path), "webhook", event)
        assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 404, 500])
def test_an_answer_that_is_no_success(tmp_path: Path, status: int) -> None:
    with receiving() as (receiver, port):
        receiver.status = status
        with pytest.raises(NotifyError, match=f"status {status}") as refused:
            send(webhook(f"http://127.0.0.1:{port}/a-secret-path", tmp_path), "webhook", an_event())
        assert "a-secret-path" not in str(refused.value)
        assert len(receiver.requests) == 1


class Mails:
    def __init__(self) -> None:
        self.taken: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.taken.append(envelope.content.decode())
        return "250 OK"


@contextmanager
def mail_server(context: Any, *, at_once: bool = False) -> Iterator[tuple[Mails, int]]:
    """Run a mail server: TLS after STARTTLS, or from the first byte, as at port 465."""
    mails = Mails()
    tls = {"ssl_context": context} if at_once else {"tls_context": context, "require_starttls": True}

    def log_in(_server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> AuthResult:
        right = (data.login, data.password) == (b"ward", PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    controller = Controller(
        mails,
        hostname="127.0.0.1",
        port=free_ports(1)[0],
        auth_required=True,
        auth_require_tls=not at_once,  # it knows of no other TLS than STARTTLS
        authenticator=log_in,
        **tls,
    )
    controller.start()
    try:
        yield mails, controller.port
    finally:
        controller.stop()


def mail(port: int, tls: Path, folder: Path, password: str = PASSWORD, **more: object) -> NotifyTable:
    table = more | {
        "host": "127.0.0.1",
        "port": port,
        "sender": "wardround@example.org",
        "recipients": ["it@example.org", "board@example.org"],
        "user": "ward",
        "password": secret_file(folder, password),
        "authority": str(tls / "ca" / "ca.crt"),
    }
    return NotifyTable.model_validate({"mail": table})


def test_a_mail_goes_over_starttls_with_a_log_in(tls: Path, tmp_path: Path) -> None:
    event = an_event()
    with mail_server(server_context(tls, sites=False)) as (mails, port):
        send(mail(port, tls, tmp_path), "mail", event)
        [taken] = mails.taken
        assert f"Message-ID: <{event.id}@wardround>" in taken
        assert "To: it@example.org, board@example.org" in taken
        assert "Subject: Wardround: job-waits" in taken
        assert "'lung' waits for approval" in taken
        with pytest.raises(NotifyError, match="refused") as refused:
            send(mail(port, tls, tmp_path, "wrong-password"), "mail", event)
        assert "wrong-password" not in str(refused.value)
        table = mail(port, tls, tmp_path)
        assert table.mail is not None
        unknown = table.model_copy(update={"mail": table.mail.model_copy(update={"authority": None})})
        with pytest.raises(NotifyError, match="can't be reached"):
            send(unknown, "mail", event)
    assert len(mails.taken) == 1


def test_a_mail_goes_over_tls_from_the_first_byte(tls: Path, tmp_path: Path) -> None:
    event = an_event()
    with mail_server(server_context(tls, sites=False), at_once=True) as (mails, port):
        table = mail(port, tls, tmp_path, encryption="tls")
        send(table, "mail", event)
        [taken] = mails.taken
        assert f"Message-ID: <{event.id}@wardround>" in taken
        assert table.mail is not None
        unknown = table.model_copy(update={"mail": table.mail.model_copy(update={"authority": None})})
        with pytest.raises(NotifyError, match=r"can't be reached .*certificate verify failed"):
            send(unknown, "mail", event)
    assert len(mails.taken) == 1


def test_a_webhook_goes_through_the_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, key = Authority.create(tmp_path / "ca", "fed", "hooks.example.org"), new_key()
    (tmp_path / "tls").mkdir()
    save_key(tmp_path / "tls" / "server.key", key)
    signed = authority.sign_server(key.public_key(), "hooks.example.org")
    (tmp_path / "tls" / "server.crt").write_bytes(pem_of(signed))
    table = webhook(
        "https://hooks.example.org/a-secret-path", tmp_path, authority=str(tmp_path / "ca" / "ca.crt")
    )
    event = an_event()
    with (
        receiving(server_context(tmp_path, sites=False)) as (receiver, port),
        Proxy(f"127.0.0.1:{port}", user="ward:proxy-password") as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://ward:proxy-password@{proxy.address}")
        send(table, "webhook", event)
        assert receiver.ids() == [event.id]
        assert proxy.asked == ["hooks.example.org:443"]  # the path is for the receiver alone
        monkeypatch.setenv("HTTPS_PROXY", f"http://ward:wrong@{proxy.address}")
        with pytest.raises(NotifyError, match="can't be reached") as refused:
            send(table, "webhook", event)
    assert "wrong" not in str(refused.value)
    assert "a-secret-path" not in str(refused.value)
    assert receiver.ids() == [event.id]


# Commands


def test_a_test_is_sent_through_every_channel_and_a_failure_ends_with_2(tmp_path: Path) -> None:
    out = tmp_path / "told"
    copy = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    program = json.dumps([sys.executable, "-c", copy, str(out)])
    secret_file(tmp_path)
    with receiving() as (receiver, port):
        (tmp_path / "site.toml").write_text(
            f'[site]\nname = "st-mary"\n[notify.command]\nrun = {program}\n'
            f'[notify.webhook]\nurl = "http://127.0.0.1:{port}/"\nsecret = "file:secret"\n'
        )
        well = wardround("client", "notify", "--test", "--dir", tmp_path)
        assert (well.returncode, well.stderr) == (0, "")
        assert well.stdout.split() == ["command", "taken", "webhook", "taken"]
        assert json.loads(out.read_text())["type"] == "wardround.test"
        assert json.loads(receiver.requests[0][1])["source"] == SOURCE
        receiver.status = 500
        ill = wardround("client", "notify", "--test", "--json", "--dir", tmp_path)
        assert ill.returncode == 2
        channels = json.loads(ill.stdout)["channels"]
        assert channels["command"] is None
        assert "answered with status 500" in channels["webhook"]
        assert SECRET not in ill.stdout + ill.stderr


# Settings


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"webhook": {"url": "http://example.org/x", "secret": "env:S"}}, "must be https"),
        ({"webhook": {"url": "https://a:b@example.org/x", "secret": "env:S"}}, "holds a password"),
        ({"webhook": {"url": "https://example.org/x", "secret": "hunter2hunter2hunter2"}}, "secret"),
        ({"webhook": {"url": "https://example.org/x"}}, "secret"),
        ({"command": {"run": "tell me"}}, "list"),
        (
            {"mail": {"host": "a.org", "sender": "a@b.org", "recipients": ["c@d.org\nBcc: x@y.org"]}},
            "recipients",
        ),
        (
            {"mail": {"host": "a.org", "sender": "a@b.org", "recipients": ["c@d.org"], "encryption": "none"}},
            "on this machine",
        ),
        (
            {"mail": {"host": "a.org", "sender": "a@b.org", "recipients": ["c@d.org"], "user": "x"}},
            "go together",
        ),
        ({"events": ["nonsense"]}, "events"),
    ],
)
def test_settings_that_are_not_safe_are_refused(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        NotifyTable.model_validate(table)


def test_a_secret_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    table = webhook("http://127.0.0.1:1/", tmp_path)
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(NotifyError, match="other users may read it"):
        send(table, "webhook", an_event())
    (tmp_path / "secret").write_text("short")
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(NotifyError, match="fewer than 16 letters"):
        send(table, "webhook", an_event())


def test_a_check_says_whether_what_channels_need_is_there(tmp_path: Path) -> None:
    table = webhook("http://127.0.0.1:1/", tmp_path)
    assert "by webhook" in channels_ready(table, "client").detail
    (tmp_path / "secret").unlink()
    with pytest.raises(NotifyError, match="can't be read"):
        channels_ready(table, "client")
    missing = channels_ready(NotifyTable.model_validate({"command": {"run": ["/nowhere/tell"]}}), "server")
    assert (missing.state, missing.what) == ("failure", "notify")


# What was told


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def a_messenger(
    settings: NotifyTable, folder: Path, look: Callable[[Teller], None] | None = None
) -> Messenger:
    return Messenger(settings, SOURCE, folder, look or (lambda _: None), stop=threading.Event())


def test_each_state_is_told_once_also_after_a_restart(tmp_path: Path) -> None:
    settings = webhook("http://127.0.0.1:1/", tmp_path)
    for _ in range(3):
        Teller(settings, SOURCE, Outbox(tmp_path / "o.sqlite")).see("run:a", "running", "run-began", run="a")
    outbox = Outbox(tmp_path / "o.sqlite")
    assert [letter.event.kind for letter in outbox.due(["webhook"])] == ["run-began"]
    teller = Teller(settings, SOURCE, outbox)
    teller.see("run:a", "failed", "run-failed", run="a", reason="no")
    teller.see("run:a", "running", "run-began", run="a")  # resumed
    kinds = [letter.event.kind for letter in outbox.due(["webhook"])]
    assert kinds == ["run-began", "run-failed", "run-began"]


def test_a_threshold_is_told_once_and_again_after_it_was_left(tmp_path: Path) -> None:
    settings, outbox = webhook("http://127.0.0.1:1/", tmp_path), Outbox(tmp_path / "o.sqlite")
    teller = Teller(settings, SOURCE, outbox)
    for days in (90, 15, 14, 13, 9, 7, 1, 0, 90, 14):
        teller.see_at_most("certificate", days, [14, 7, 2], "certificate-ends", site="st-mary", days=days)
    told = [letter.event.data["days"] for letter in outbox.due(["webhook"])]
    assert told == [14, 7, 1, 14]


def test_only_what_is_wanted_is_told(tmp_path: Path) -> None:
    settings = webhook("http://127.0.0.1:1/", tmp_path).model_copy(update={"events": ["run-failed"]})
    outbox = Outbox(tmp_path / "o.sqlite")
    teller = Teller(settings, SOURCE, outbox)
    teller.see("run:a", "running", "run-began", run="a")
    teller.see("run:a", "failed", "run-failed", run="a")
    assert [letter.event.kind for letter in outbox.due(["webhook"])] == ["run-failed"]


def test_what_is_not_taken_is_tried_again_under_the_same_id_ever_later(tmp_path: Path) -> None:
    clock = Clock()
    with receiving() as (receiver, port):
        settings, outbox = (
            webhook(f"http://127.0.0.1:{port}/", tmp_path),
            Outbox(tmp_path / "o.sqlite", clock),
        )
        Teller(settings, SOURCE, outbox).see("run:a", "running", "run-began", run="a")
        messenger = a_messenger(settings, tmp_path)
        receiver.status = 503
        tries = []
        for _ in range(120):
            messenger.send_due(outbox)
            tries.append(len(receiver.requests))
            clock.now += 1
        assert tries[4] == 1  # not before 5 s
        assert tries[-1] == 5  # at 0, 5, 15, 35 and 75 s
        receiver.status = 200
        clock.now += 3600
        messenger.send_due(outbox)
        messenger.send_due(outbox)
        assert outbox.waiting() == 0
        assert len(receiver.requests) == 6
        assert len(set(receiver.ids())) == 1


def test_a_process_killed_while_it_sends_loses_nothing_and_repeats_the_id(tmp_path: Path) -> None:
    with receiving() as (receiver, port):
        settings = webhook(f"http://127.0.0.1:{port}/", tmp_path)
        script = (
            "import sys, threading; from pathlib import Path\n"
            "from shared.notify.messenger import Messenger\n"
            "from shared.notify.settings import NotifyTable\n"
            "settings = NotifyTable.model_validate_json(sys.argv[1])\n"
            "look = lambda teller: teller.see('run:a', 'running', 'run-began', run='a')\n"
            "stop = threading.Event()\n"
            f"Messenger(settings, {SOURCE!r}, Path(sys.argv[2]), look, stop=stop, wait=0.05).start()\n"
            "stop.wait()\n"
        )
        command = [sys.executable, "-c", script, settings.model_dump_json(), str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        receiver.answers.clear()
        first = subprocess.Popen(command, env=environment)
        assert receiver.arrived.acquire(timeout=60)
        first.send_signal(signal.SIGKILL)
        first.wait()
        receiver.answers.set()
        second = subprocess.Popen(command, env=environment)
        try:
            assert receiver.arrived.acquire(timeout=60)
        finally:
            second.kill()
            second.wait()
        first_id, second_id = receiver.ids()
        assert first_id == second_id


def test_whatever_goes_wrong_is_a_line_of_the_log_and_the_thread_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    looked, stop = threading.Semaphore(0), threading.Event()

    def look(_: Teller) -> None:
        looked.release()
        raise RuntimeError("a fault")

    settings = NotifyTable.model_validate({"command": {"run": ["/nowhere"]}})
    Messenger(settings, SOURCE, tmp_path, look, stop=stop, wait=0.01).start()
    for _ in range(3):
        assert looked.acquire(timeout=60)
    stop.set()
    assert "people can't be told" in caplog.text
