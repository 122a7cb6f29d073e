"""Whatever a library raises on a damaged file, as one error that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from client.data.formats.library_messages import warnings_heard
from shared.errors import DataError
from shared.text.names import shortened
from shared.text.printable import printable

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_LONGEST_REASON = 300  # letters of what a library says
T = TypeVar("T")


def guarded(path: Path, read: Callable[[], T]) -> T:
    """Read a file; see `refusing`. What a decoder prints is not shown."""

    def heard() -> T:
        with warnings_heard():
            return read()

    itself = path.suffix.lower() in PICTURES and path.is_file()  # listens where a library may speak
    return refusing(path, read if itself else heard)


def refusing(path: Path, read: Callable[[], T]) -> T:
    """Turn whatever is raised on a damaged file into one DataError."""
    try:
        return read()
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError("the file is missing", where=path) from None
    except MemoryError:
        raise DataError("needs more memory than there is", where=path) from None
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = printable(" ".join(lines) or type(error).__name__)
        raise DataError(f"can't be read: {shortened(said, _LONGEST_REASON)}", where=path) from None
