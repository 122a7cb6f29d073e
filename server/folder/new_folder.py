"""Making a coordinator's folder, whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LAST = "server.toml"
"""Without this file a folder is not a coordinator's."""

_OF_THE_DISK = "lost+found"  # on a disk, or a volume of a container, of its own


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Give a folder in which all is made, and which becomes `folder` at the end of the block.

    One that is not there comes by one rename. One that is there and empty may be a volume, which can't be
    replaced, or lie where this user may write nothing else: what is made comes into it name by name,
    `server.toml` last.

    Args:
        folder: Not there, or empty, see `is_vacant`.

    Raises:
        OSError: It can't be written.
    """
    is_there = folder.exists()
    if not is_there:
        folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder if is_there else folder.parent
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=place) as scratch:
        new = Path(scratch) / "new"
        new.mkdir(mode=0o700)
        yield new
        if not is_there:
            new.rename(folder)
            return
        for path in sorted(new.iterdir(), key=lambda path: path.name == LAST):
            path.rename(folder / path.name)


def is_vacant(folder: Path) -> bool:
    """Say whether a coordinator's folder can be made here."""
    return not folder.exists() or (
        folder.is_dir() and all(path.name == _OF_THE_DISK for path in folder.iterdir())
    )
