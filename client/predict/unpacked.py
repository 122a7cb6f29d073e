"""The images in an archive (zip, tar), unpacked for as long as they are looked at."""

import re
import shutil
from pathlib import Path

from client.data.images.readers import ENDINGS
from client.dicom_import.archives import is_archive, members
from shared.errors import DataError

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 80  # characters of a name


def unpacked(data: Path, staging: Path) -> Path:
    """Return the folder with the images of an archive; whatever else was named, as it is.

    Files are called by their number and by what is harmless of their names: none of these is a path.

    Args:
        data: An archive, or something else.
        staging: The folder in which that of the images is made.

    Raises:
        DataError: The archive is damaged, encrypted, or unpacks to far more than it holds.
    """
    if not data.is_file() or not is_archive(data):
        return data
    folder = staging / "unpacked"
    folder.mkdir(mode=0o700)
    try:
        for number, (name, _, opened) in enumerate(members(data), 1):
            with opened() as source, (folder / _name(number, name)).open("xb") as file:
                shutil.copyfileobj(source, file)
    except OSError as error:
        raise DataError(f"can't be unpacked ({error.strerror})", where=data) from None
    return folder


def _name(number: int, name: str) -> str:
    """Return what a file of an archive is called here; its ending says how it is read."""
    last = name.replace("\\", "/").rpartition("/")[2]
    ending = next((own for own in ENDINGS if last.lower().endswith(own)), "")
    stem = _ODD.sub("_", last[: len(last) - len(ending)])
    return f"{number:06d}-{stem[:_LONGEST]}{ending}"
