"""What a service says of itself to systemd has no word that somebody else wrote."""

import socket
from types import SimpleNamespace

from client.service.presence import WORKING, Presence


def test_a_kind_of_message_begins_no_other_word(tmp_path, monkeypatch):
    said = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        state = SimpleNamespace(tell=lambda status, detail: said.append(detail))
        Presence(state, SimpleNamespace(serving=lambda *, yes: None)).tell(WORKING, "train\nMAINPID=1")
        assert systemd.recv(1000) == rb"STATUS=working train\nMAINPID=1"
    assert said == [r"train\nMAINPID=1"]
