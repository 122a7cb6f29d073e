"""What shows that a folder is that of a series; loads nothing."""

from pathlib import Path

FILE = "series.json"


def is_series(folder: Path) -> bool:
    """Say whether a folder is that of a series."""
    return (folder / FILE).is_file()
