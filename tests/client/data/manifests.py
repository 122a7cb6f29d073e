"""Changes of a manifest that a test has written."""

from pathlib import Path


def rewrite(folder: Path, old: str, new: str) -> None:
    """Replace a text in the manifest of a folder, which has it, once."""
    path = folder / "manifest.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
