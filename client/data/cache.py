"""Preprocessed samples on disk, so that the second run of a hospital starts at once.

The name of a file is the SHA-256 of what went in and of how it was prepared; a changed image, mask or job
finds no file and is prepared anew. Files are safetensors, written whole or not at all, and readable by their
owner only.
"""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from client.data.prepared import Prepared
from shared.errors import DataError
from shared.files import replace_file


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of all the files in a folder whatever their names.

    Raises:
        DataError: The file is missing or can't be read.
    """
    try:
        if path.is_dir():
            parts = sorted(content_hash(file) for file in path.iterdir() if file.is_file())
            return hashlib.sha256("".join(parts).encode()).hexdigest()
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError("the file is missing", where=path) from None
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=path) from None


class DiskCache:
    """Prepared samples in a folder, by key. Several processes may share it.

    Args:
        folder: Is made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Prepared | None:
        """Return a sample, or None where there is none or its file is damaged."""
        try:
            with safe_open(self._path(key), framework="numpy") as file:
                facts = json.loads((file.metadata() or {})["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if facts["crc32"] != _checksum(tensors):
                return None
            spacing = None if facts["spacing"] is None else tuple(facts["spacing"])
            return Prepared(tensors, spacing)
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def put(self, key: str, sample: Prepared) -> None:
        """Write a sample.

        Raises:
            DataError: The folder can't be written or the disk is full.
        """
        tensors = {name: np.ascontiguousarray(value) for name, value in sample.values.items()}
        facts = json.dumps({"spacing": sample.spacing, "crc32": _checksum(tensors)})
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(path, save(tensors, metadata={"facts": facts}), sync=False)  # it is made again
        except OSError as error:
            raise DataError(
                f"the cache can't be written ({error.strerror})",
                where=self.folder,
                remedy="Make room, or name another folder for the cache.",
            ) from None

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def _checksum(tensors: dict[str, np.ndarray]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]).data, value)
    return value
