"""An export is verified from wherever a person stands."""

from pathlib import Path

import pytest

from client.export.signing import SignatureError, prepare_key, public_file, sign, verify

pytest.importorskip("model_signing")


@pytest.mark.parametrize(("where", "named"), [("", "model"), ("model", "."), ("model", "../model/")])
def test_a_folder_may_be_named_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, named: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/README.md").write_text("a card\n")
    key = prepare_key(None)
    sign(Path("model"), key)
    assert public_file(key).is_file()
    monkeypatch.chdir(tmp_path / where)
    verify(Path(named), None)
    (tmp_path / "model" / "README.md").write_text("another card\n")
    with pytest.raises(SignatureError, match=r"'README\.md' was changed"):
        verify(Path(named), None)
