"""DICOM objects as files (PS3.10)."""

import io

from pydicom.dataset import Dataset


def content(item: Dataset) -> bytes:
    """Return the content of an object's file."""
    stream = io.BytesIO()
    item.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
