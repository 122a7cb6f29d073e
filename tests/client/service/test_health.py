"""The socket on which a site's service answers, in folders of any name."""

from pathlib import Path

import pytest

from client.service.health import Health, ask, socket_of
from shared.errors import SiteError


@pytest.mark.parametrize("name", ["plain", "a b", "100%20", "%", "a#b", "a?b=c", "ä€", "a:b", "a\\b"])
@pytest.mark.parametrize("near", [True, False])
def test_a_folder_of_any_name(tmp_path: Path, name: str, near: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(tmp_path if near else "/")
    with Health([socket_of(folder)]) as health:
        assert (folder / "health.sock").is_socket()
        assert ask(socket_of(folder)) == "not serving"
        health.serving(yes=True)
        assert ask(socket_of(folder)) == "serving"


def test_a_path_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.chdir("/")
    with pytest.raises(SiteError, match="too long"), Health([socket_of(folder)]):
        pass
