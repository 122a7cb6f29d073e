"""Whole slides: pyramids in a TIFF (also Aperio's and OME's) or in a folder of DICOM; read tile by tile."""

from client.data.formats.slides.opening import is_slide, open_slide
from client.data.formats.slides.slide import Level, Slide

__all__ = ["Level", "Slide", "is_slide", "open_slide"]
