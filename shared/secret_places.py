"""Where a secret of the settings is: in a file that nobody else may read, or in the environment."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.errors import WardroundError

_FILE = "file:"
Secret = Annotated[str, Field(pattern=r"^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$")]


def based(value: object, folder: Path) -> object:
    """Return a value of a table with its relative path, where it is one, counted from a folder."""
    if isinstance(value, str) and value.startswith(_FILE):
        return f"{_FILE}{folder / value.removeprefix(_FILE)}"
    return folder / value if isinstance(value, Path) else value


def read_secret(where: str, secret: str, error: type[WardroundError]) -> str:
    """Return a secret from where it is kept.

    Args:
        where: Its table and key, for errors.
        secret: `file:PATH` or `env:VARIABLE`.
        error: What is raised where it can't be read.

    Raises:
        WardroundError: It is not there, is not text, or others may read it.
    """
    kind, _, name = secret.partition(":")
    if kind == "env":
        if not (value := os.environ.get(name, "")):
            raise error(f"the environment has no {name}", where=where)
        return value
    file = Path(name)
    try:
        if file.stat().st_mode & 0o077:
            raise error("other users may read it", where=file, remedy=f"chmod 600 {file}")
        return file.read_text(encoding="utf-8").strip()
    except OSError as problem:
        raise error(f"can't be read ({problem.strerror})", where=file) from None
    except UnicodeDecodeError:
        raise error("is not a text", where=file) from None
