"""A synthetic dataset beside the configuration files of its hospitals, as a person would lay them out."""

import csv
from dataclasses import dataclass
from pathlib import Path

from shared.errors import DataError
from simulate.data.phantom import write_phantom

SITE = """\
# A synthetic hospital, made by `wardround data example`.

[site]
name = "{site}"

[datasets.{name}]
manifest = "../manifest.csv"
site = "{site}"
"""


@dataclass(frozen=True)
class Example:
    """What was written.

    Attributes:
        sites: A `site.toml` for each hospital.
    """

    manifest: Path
    sites: tuple[Path, ...]


def write_example(name: str, folder: Path, seed: int) -> Example:
    """Write a synthetic dataset and the configurations of its hospitals; a seed gives the same bytes.

    Raises:
        DataError: There is no such dataset, the folder is there already or can't be written.
    """
    if folder.exists():
        remedy = "Use it, remove it, or name another folder with --out."
        raise DataError("is there already; nothing is overwritten", where=folder, remedy=remedy)
    manifest = write_phantom(name, folder, seed)
    with manifest.open(newline="", encoding="utf-8") as stream:
        names = sorted({row["site"] for row in csv.DictReader(stream)})
    sites = folder / "sites"
    try:
        sites.mkdir()
        for site in names:
            (sites / f"{site}.toml").write_text(SITE.format(site=site, name=name), encoding="utf-8")
    except OSError as error:
        raise DataError(f"can't be written ({error.strerror})", where=sites) from None
    return Example(manifest, tuple(sites / f"{site}.toml" for site in names))
