"""What a file holds, as a hash."""

import hashlib
from pathlib import Path

from shared.errors import DataError

_PIECE = 2**20


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of all the files in a folder whatever their names.

    Raises:
        DataError: The file is missing or can't be read.
    """
    try:
        if path.is_dir():
            parts = sorted(content_hash(file) for file in path.iterdir() if file.is_file())
            return hashlib.sha256("".join(parts).encode()).hexdigest()
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()
    except FileNotFoundError:
        raise DataError("the file is missing", where=path) from None
    except OSError as error:
        raise DataError(f"can't be read ({error.strerror})", where=path) from None
