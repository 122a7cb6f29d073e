"""Which columns of a manifest hold images, where no job says so."""

import re
from pathlib import Path

from client.data.kinds import KINDS
from client.data.kinds.image import PixelsKind
from client.data.manifest.csv_files import is_there, read_table
from client.data.manifest.rows import manifest_path

OF_ROWS = {"patient", "site", "split"}
_FILE = re.compile(r".*\.[A-Za-z][A-Za-z0-9]{1,4}(\.gz)?")  # what the name of a file looks like


def image_columns(path: Path) -> tuple[str, ...]:
    """Return the columns that hold images: 'image', or those whose first cell names a file that is there.

    A column that is called like another kind of field, such as 'mask', holds values of that.
    A manifest in whose first row nothing looks like the name of a file is a table, and has none.

    Args:
        path: The CSV, or the folder that holds it as `manifest.csv`.

    Raises:
        DataError: The manifest is missing or can't be read.
    """
    path = manifest_path(path)
    header, rows = read_table(path)
    if "image" in header or not rows:
        return ("image",)
    others = OF_ROWS | {name for name, kind in KINDS.items() if not issubclass(kind, PixelsKind)}
    first = zip(header, rows[0][1], strict=False)
    found = [name for name, cell in first if name not in others and cell and is_there(path.parent / cell)]
    if found:
        return tuple(found)
    return ("image",) if any(_FILE.fullmatch(cell) for cell in rows[0][1]) else ()
