"""`wardround audit-privacy` as a user meets it: on a simulated run, and with a hospital's own site.toml."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch

from tests.cli import wardround
from tests.conftest import SITES, write_dataset
from tests.jobs import job_text


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Return the manifest of two hospitals with 36 patients each."""
    return write_dataset(tmp_path_factory.mktemp("audited") / "data", SITES[:2], patients=36, side=8)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """Return the folder of a run of theirs; the tests only look at it."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(job_text(strategy_min_sites=2, data_size=[8, 8], job_rounds=1))
    said = wardround("simulate", "tiny.toml", "--data", data, "--workers", "in-process", cwd=folder)
    assert said.returncode == 0, said.stderr
    [found] = (folder / "runs").iterdir()
    return found


def site_file(folder, name: str, manifest) -> str:
    folder.mkdir(exist_ok=True)
    text = f'[site]\nname = "{name}"\n[datasets.discs]\nmanifest = "{manifest}"\nsite = "{name}"\n'
    (folder / "site.toml").write_text(text)
    return folder / "site.toml"


def test_an_audit_prints_a_table_or_json(cli, run, data, tmp_path) -> None:
    first = cli("audit-privacy", run, "--site-name", "beta", "--shadows", 4)
    assert first.code == 0, first.err
    assert "loss threshold" in first.out
    assert "likelihood ratio" in first.out
    assert "24 held-out patients show no false-positive rate between 0 and 4.2 %" in first.out
    assert "shadow model 4 of 4" in first.err
    again = cli("audit-privacy", run, "--site-name", "beta", "--shadows", 4, "--json")
    assert "beta-" not in first.out + first.err + again.out  # no patient is named
    figures = json.loads(again.out)
    assert (figures["members"], figures["others"], figures["shadows"]) == (12, 24, 4)
    assert figures["smallest_false_positive_rate"] == pytest.approx(1 / 24)
    own = site_file(tmp_path / "hospital", "beta", data)
    theirs = cli("audit-privacy", run, "--site", own, "--shadows", 4, "--json")
    assert theirs.code == 0, theirs.err
    assert json.loads(theirs.out) == figures


def test_what_cant_be_audited_is_said(cli, run, data, tmp_path) -> None:
    def error(*options, folder=run) -> str:
        said = cli("audit-privacy", folder, "--shadows", 4, *options)
        assert (said.code, said.out) == (2, "")
        return said.err

    assert "give --site SITE.toml, or --site-name NAME" in error()
    assert "has no site 'betta'; did you mean 'beta'" in error("--site-name", "betta")
    assert "is not the folder of a run" in error("--site-name", "beta", folder=tmp_path)
    stranger = site_file(tmp_path / "stranger", "gamma", data)
    stranger.write_text(stranger.read_text().replace('site = "gamma"', 'site = "alpha"'))
    assert "site 'gamma' took no part; these did: alpha, beta" in error("--site", stranger)
    other = write_dataset(tmp_path / "other", ("beta",), patients=90, side=8)
    changed = site_file(tmp_path / "changed", "beta", other)
    assert "site 'beta' trained on about 10 patients, but there are about 30 now" in error("--site", changed)
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "model.safetensors").unlink()
    assert "has no model" in error("--site-name", "beta", folder=unfinished)
    (unfinished / "model.safetensors").write_bytes(b"none")
    assert "can't be read as a model" in error("--site-name", "beta", folder=unfinished)
    tensors = safetensors.torch.load_file(run / "model.safetensors")
    header = {"wardround": json.dumps({"job": "0" * 64})}
    safetensors.torch.save_file(tensors, unfinished / "model.safetensors", header)
    assert "is the model of another job" in error("--site-name", "beta", folder=unfinished)
