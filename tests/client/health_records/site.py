"""A hospital's folder whose dataset `brain` has a cohort."""

import json
from pathlib import Path

from shared.audit.log import parse_entry
from shared.pki.certificates import new_key, save_key
from tests.cli import wardround


def write_site(folder: Path, database: str, query: str) -> None:
    """Write a site whose dataset is what a query of a database gives; the dataset lies beside it."""
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    if not (folder / "keys" / "site.key").exists():
        save_key(folder / "keys" / "site.key", new_key())
    (folder / "brain.sql").write_text(query)
    (folder / "site.toml").write_text(
        '[site]\nname = "st-mary"\n[datasets.brain]\nmanifest = "data/brain"\n'
        f'[datasets.brain.cohort]\nquery = "brain.sql"\n{database}'
    )


def asked(folder: Path, *options: object) -> tuple[dict, str]:
    """Ask by the command line; return its answer, or what it complains of."""
    ended = wardround("data", "ask", "brain", "--dir", folder, *options, "--json")
    if ended.returncode:
        assert (ended.returncode, ended.stdout) == (2, "")
        return {}, ended.stderr
    return json.loads(ended.stdout), ""


def entries(folder: Path) -> list:
    """Return the entries of its audit log."""
    return [
        parse_entry(line)
        for path in sorted((folder / "audit").glob("*.jsonl"))
        for line in path.read_bytes().splitlines(keepends=True)
    ]
