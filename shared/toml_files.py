"""TOML files as people save them: in UTF-8, with or without the mark that Windows puts before it."""

import tomllib
from pathlib import Path
from typing import Any

from shared.errors import WardroundError

_ONCE = "A [table] stands once in a file: write the keys under the one that is there already."


def read_toml(path: Path, error: type[WardroundError]) -> dict[str, Any]:
    """Read a file of settings.

    Args:
        path: The file.
        error: What is raised where it can't be read.

    Raises:
        WardroundError: The file is missing, in another encoding, or not TOML.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise error(f"can't be read ({problem.strerror})", where=path) from None
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content
        kind = "is in UTF-16" if utf16 else "is not in UTF-8"
        raise error(kind, where=path, remedy="Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as problem:
        remedy = _ONCE if "twice" in str(problem) else None
        raise error(f"is not valid TOML: {problem}", where=path, remedy=remedy) from None
