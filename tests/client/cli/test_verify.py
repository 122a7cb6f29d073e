"""`wardround verify`: a run, a model and an export by their passport, and what is said of each change."""

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.export.signing import sign
from shared.pki.certificates import new_key, save_key
from tests.cli import wardround
from tests.jobs import make_job
from tests.passports import MODELS, SITES, Desk, SigningFederation

PEM = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def desk(tmp_path) -> Desk:
    """Give the folder of a run with its passport."""
    folder = tmp_path / "run"
    folder.mkdir()
    desk = Desk(SigningFederation(tmp_path / "ca"), folder)
    desk.write()
    (folder / "job.json").write_text(make_job(job_rounds=2).canonical())
    (folder / "run.json").write_text("{}")
    rounds = [{"round": 0}, *({"round": number, "trained": list(SITES)} for number in (1, 2))]
    lines = [*rounds, {"round": 2, "test": True}]
    (folder / "participation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return desk


def verify(desk: Desk, path: Path, *more: object, code: int = 0) -> CompletedProcess[str]:
    said = wardround("verify", path, "--root", desk.federation.root, *more)
    assert said.returncode == code, said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    return said


def test_a_run_and_its_model_say_who_took_part(desk, tmp_path) -> None:
    said = verify(desk, desk.folder).stdout
    for text in (
        "signed by the coordinator of lung-eu",
        "alpha",
        "1-2",
        "after round 2, which alpha, beta, gamma sign",
    ):
        assert text in said
    found = json.loads(verify(desk, desk.folder, "--json").stdout)
    assert found["sites"]["beta"]["rounds"] == [1, 2]
    assert found["models"] == {"model.safetensors": 2}
    copy = Path(shutil.copy(desk.model, tmp_path / "copied.safetensors"))
    assert "after round 2" in verify(desk, copy, "--passport", desk.folder / "passport.json").stdout
    assert "there is no passport" in verify(desk, copy, code=2).stderr


def test_a_site_without_a_statement_is_listed(desk) -> None:
    del desk.statements["beta"]
    desk.content["without"] = {"beta": "gave no answer"}
    desk.write()
    assert "NOT SIGNED: gave no answer" in verify(desk, desk.folder).stdout


def test_whatever_was_changed_in_a_run_is_named(desk) -> None:
    for name, before, after, said in (
        ("participation.jsonl", '"beta", ', "", "participation.jsonl: says of round 1 something else"),
        ("participation.jsonl", '{"round": 2', '{"round": 3', "participation.jsonl: says of round 2"),
        ("participation.jsonl", '{"round": 2', '{"round": "2nd"', "can't be compared with its passport"),
        ("participation.jsonl", '{"round": 2', '{"round": ' + "[" * 5000, "can't be compared with its"),
        ("job.json", '"seed":5', '"seed":6', "job.json: is another job"),
        ("passport.json", "A", "B", "passport.json: "),
    ):
        file = desk.folder / name
        kept = file.read_text()
        file.write_text(kept.replace(before, after, 1))
        assert said in " ".join(verify(desk, desk.folder, code=2).stderr.split())
        file.write_text(kept)
    desk.model.write_bytes(desk.model.read_bytes()[:-1] + b"\0")
    assert "is not a model of the run" in verify(desk, desk.folder, code=2).stderr


def test_another_root_and_no_root_are_refused(desk, tmp_path) -> None:
    other = SigningFederation(tmp_path / "other")
    said = wardround("verify", desk.folder, "--root", other.root)
    assert said.returncode == 2
    assert "not signed by this federation's authority" in said.stderr
    assert "--root" in wardround("verify", desk.folder).stderr


def test_an_export_is_checked_by_the_root_and_the_key_of_its_signer(desk, tmp_path) -> None:
    pytest.importorskip("model_signing")
    key = new_key()
    save_key(tmp_path / "key.pem", key)
    public = tmp_path / "key.pub"
    public.write_bytes(key.public_key().public_bytes(*PEM))
    weights, program = tmp_path / "weights", tmp_path / "program"
    for out in (weights, program):
        out.mkdir()
        shutil.copy(desk.folder / "passport.json", out)
    shutil.copy(desk.model, weights)
    (program / "model.onnx").write_bytes(b"made of it")
    released = desk.content["files"]["model.safetensors"]["sha256"]
    (program / "model.json").write_text(json.dumps({"run": {"model": released}}))
    for out in (weights, program):
        sign(out, tmp_path / "key.pem")
    assert "Its other files were not checked" in verify(desk, weights).stdout
    assert "every file is as it was signed" in verify(desk, weights, "--key", public).stdout
    assert "by its signer made of model.safetensors" in verify(desk, program, "--key", public).stdout
    assert "--key" in verify(desk, program, code=2).stderr
    assert "--root" in wardround("verify", program, "--key", public).stdout
    for about, said in (
        (json.dumps({"run": {"model": MODELS[0]}}), "not in the passport"),
        ('{"run": ' + "[" * 90_000, "does not say of which model"),
    ):
        (program / "model.json").write_text(about)
        (program / "model.sig").unlink()
        sign(program, tmp_path / "key.pem")
        assert said in verify(desk, program, "--key", public, code=2).stderr
    (program / "model.sig").write_text("[" * 90_000)
    assert "can't be read" in verify(desk, program, "--key", public, code=2).stderr
