"""JSON Schemas of our files, as an editor uses them."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.cli import wardround

PROJECT = Path(__file__).parents[1]
CONFIGS = PROJECT / "configs"
COMMANDS = {"job": "job", "site": "client", "server": "server"}
FILES = sorted(CONFIGS.glob("*/*.toml"))


def named(file: Path) -> Path:
    """Return the schema that a file names in its first line."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("#:schema ")
    return file.parent / first.removeprefix("#:schema ")


def problems(file: Path, change: Any = None) -> list[str]:
    schema, content = json.loads(named(file).read_text()), tomllib.loads(file.read_text(encoding="utf-8"))
    if change is not None:
        change(content)
    return [error.message for error in Draft7Validator(schema).iter_errors(content)]


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_shipped_schemas_are_what_the_commands_print(kind: str) -> None:
    printed = wardround(COMMANDS[kind], "schema").stdout
    assert (CONFIGS / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8") == printed
    Draft7Validator.check_schema(json.loads(printed))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_shipped_file_fits_its_schema(file: Path) -> None:
    assert problems(file) == []


def test_a_schema_finds_what_is_wrong() -> None:
    file = CONFIGS / "jobs" / "quickstart.toml"
    assert problems(file, lambda job: job["training"].update(batchsize=8))
    assert problems(file, lambda job: job["model"].update(name="unett"))
    assert problems(file, lambda job: job["job"].pop("name"))
    site = CONFIGS / "sites" / "st-mary.toml"
    assert problems(site, lambda table: table["policy"].update(min_group="ten"))


def test_new_files_lie_beside_the_schema_that_they_name(tmp_path: Path) -> None:
    for arguments, file in (
        (("job", "new", "heart", "--task", "segmentation"), "heart.toml"),
        (
            ("server", "init", "fed", "--name", "lung", "--host", "x.org", "--no-passphrase"),
            "fed/server.toml",
        ),
    ):
        assert wardround(*arguments, cwd=tmp_path).returncode == 0
        assert problems(tmp_path / file) == []
    join = wardround("server", "invite", "st-mary", "--dir", "fed", cwd=tmp_path).stdout
    asked = wardround(
        "client", "enrol", "-", "--dir", "site", "--request-out", "s.csr", stdin=join, cwd=tmp_path
    )
    assert asked.returncode == 0, asked.stderr
    assert problems(tmp_path / "site" / "site.toml") == []


def test_a_schema_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "job.schema.json").write_text("mine")
    assert wardround("job", "new", "heart", "--task", "segmentation", cwd=tmp_path).returncode == 0
    assert (tmp_path / "job.schema.json").read_text() == "mine"
