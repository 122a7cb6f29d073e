"""Which files are slides, and what reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.misc import is_dicom

from client.data.formats.slides.slide import Slide, closing
from shared.errors import DataError

ENDINGS = (".svs", ".tif", ".tiff")


def is_slide(path: Path) -> bool:
    """Say if a file can only be a whole slide, by its name."""
    return path.suffix.lower() == ".svs"


@contextmanager
def open_slide(path: Path) -> Iterator[Slide]:
    """Open a whole slide, a TIFF or a folder of DICOM; nothing is read of its label and overview.

    Raises:
        DataError: It is none, or of a format that is not read.
    """
    with closing(_opened(path)) as slide:
        yield slide


def _opened(path: Path) -> Slide:
    if path.is_dir() or is_dicom(path):
        from client.data.formats.slides.dicom_slide import DicomSlide  # noqa: PLC0415 (few need it)

        return DicomSlide.of(path)
    if path.suffix.lower() in ENDINGS:
        from client.data.formats.slides.tiff_slide import TiffSlide  # noqa: PLC0415 (an extra)

        return TiffSlide.of(path)
    raise DataError(
        "is not a whole slide that is read: these are TIFF with levels (.svs, .tif) and folders of DICOM",
        where=path,
        remedy="Convert it to DICOM or to a TIFF with tiles and levels; without [data] mpp a folder of tiles "
        "that another program cut is read.",
    )
