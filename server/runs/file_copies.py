"""The files of a run as they are copied: by names that fit a fixed pattern, whole or not at all, checked."""

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from server.runs.control import UnknownRunError
from shared.errors import RunError
from shared.run_folder import description_of

RUN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,150}")
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}\.(csv|json|jsonl|safetensors|sum)")
CHUNK = 2**18  # bytes


def run_path(runs: Path, name: str) -> Path:
    """Return the folder of a run by its name, which may have come over a network.

    Raises:
        UnknownRunError: The name is none of a run.
    """
    if not RUN_NAME.fullmatch(name):
        raise UnknownRunError(
            "is not a name of a run", where=repr(name), remedy="`wardround runs` lists them."
        )
    return runs / name


def check_file_name(name: str) -> str:
    """Return the name of a run's file, which may have come over a network.

    Raises:
        RunError: It is none: it could lead out of the folder, or be hidden.
    """
    if not _FILE_NAME.fullmatch(name):
        raise RunError(f"{name!r} is not a name of a run's file")
    return name


def file_names(folder: Path) -> list[str]:
    """Return the names of the files that belong to a run, but not locks, links and what is half written."""
    return sorted(
        path.name
        for path in folder.iterdir()
        if _FILE_NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    )


def open_file(folder: Path, name: str) -> BinaryIO:
    """Open a file of a run for reading.

    Raises:
        RunError: There is no such file.
    """
    try:
        handle = os.open(folder / check_file_name(name), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        raise RunError(f"has no file {name!r}", where=folder.name) from None
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise RunError(f"has no file {name!r}", where=folder.name)
    return file


def chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file: tables and logs grow while they are read."""
    file.seek(0)
    while size > 0 and (chunk := file.read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


def write_copy(out: Path, name: str, files: Iterable[tuple[str, Iterable[bytes]]]) -> Path:
    """Write the copy of a run below `out` and check its models; there is a whole copy afterwards, or none.

    Args:
        out: Made if it is not there.
        name: Of the run.
        files: Name and content of each file.

    Raises:
        RunError: The copy exists, a name is not one of a run's file, a file can't be written, or a model is
            not what the run wrote.
    """
    target = run_path(out, name)
    if target.exists():
        raise RunError("exists already", where=target, remedy="Give another folder with --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=out) as scratch:
            new = Path(scratch) / "run"
            new.mkdir()
            digests = {file: _write(new / check_file_name(file), content) for file, content in files}
            _check_models(new, digests)
            new.rename(target)
    except OSError as error:
        raise RunError(f"can't be written ({error.strerror})", where=error.filename or target) from None
    return target


def _write(path: Path, content: Iterable[bytes]) -> str:
    """Write a new file and return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in content:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _check_models(folder: Path, digests: dict[str, str]) -> None:
    """Compare each model with the digest that the run wrote down when it ended."""
    try:
        about = description_of(folder)
        models = dict(about.get("models", {}))
    except (OSError, ValueError, TypeError, RecursionError):
        about = {}
    if not about:
        raise RunError("is not the folder of a run", where=folder.parent.name)
    for model, digest in models.items():
        if digests.get(str(model)) != digest:
            raise RunError("is not the model that the run wrote", where=str(model))
