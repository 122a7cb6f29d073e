"""In which further formats predictions are written, besides tables, NIfTI and PNG."""

from collections.abc import Sequence
from typing import Literal, get_args

from shared.errors import RunError
from shared.text.names import suggestion

Format = Literal["dicom-seg", "dicom-sr", "dicom-sc", "fhir", "json"]
"""What `--as` takes."""
FORMATS: tuple[Format, ...] = get_args(Format)
DICOM: frozenset[Format] = frozenset({"dicom-seg", "dicom-sr", "dicom-sc"})
"""Those that an archive of images takes, and that only images of DICOM can have."""
TABLE: Format = "json"
"""All rows in one file."""


def known_formats(named: Sequence[str]) -> list[Format]:
    """Return the formats that were named, each once.

    Raises:
        RunError: One is unknown.
    """
    for name in named:
        if name not in FORMATS:
            raise RunError(f"unknown format '{name}'; {suggestion(name, FORMATS)}", where="--as")
    return [name for name in FORMATS if name in named]
