"""Overlays as DICOM Secondary Capture (PS3.3 A.8): a picture that every viewer shows."""

import hashlib
import io
import warnings

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont

from client.predict.dicom.maker import Maker
from client.predict.dicom.source import Source
from shared.errors import DataError

_SERIES = 9703
_MARGIN, _LETTERS = 6, 16


def capture(overlay: bytes, source: Source, maker: Maker) -> SCImage:
    """Return an overlay as a picture of its own, with "research use only" written below it.

    Args:
        overlay: The PNG.
        source: The image's files.
        maker: The model.

    Raises:
        DataError: The files lack what it refers to.
    """
    pixels = np.asarray(_labelled(overlay, f"{maker.title} ({maker.version})"))
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names and values that the source has
            made = SCImage.from_ref_dataset(
                source.first,
                pixels,
                photometric_interpretation="RGB",
                bits_allocated=8,
                coordinate_system="PATIENT",
                patient_orientation=("L", "P"),
                series_instance_uid=maker.uid("SC", str(source.first.SeriesInstanceUID)),
                series_number=_SERIES,
                sop_instance_uid=maker.uid("SC", *source.uids, digest),
                instance_number=1,
                series_description=maker.title,
                **maker.equipment(),
            )
    except (ValueError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"can't be referred to by a picture ({text})", where=source.path) from None
    made.PatientOrientation = None  # several planes may be side by side
    if "Laterality" not in made:
        made.Laterality = None  # type 2C: of a paired part of the body, unknown
    made.pop("BurnedInAnnotation", None)
    if said := _burned_in(source):
        made.BurnedInAnnotation = said
    return made


def _burned_in(source: Source) -> str:
    """Return whether the images' pixels name a patient, as their files say it: a picture of them shows it."""
    said = {str(header.get("BurnedInAnnotation") or "").upper() for header in source.headers}
    if "YES" in said:
        return "YES"
    return "NO" if said == {"NO"} else ""


def _labelled(overlay: bytes, text: str) -> Image.Image:
    picture = Image.open(io.BytesIO(overlay)).convert("RGB")
    font = ImageFont.load_default(_LETTERS)
    width = int(font.getlength(text)) + 2 * _MARGIN
    whole = Image.new("RGB", (max(picture.width, width), picture.height + _LETTERS + 3 * _MARGIN), "black")
    whole.paste(picture, (0, 0))
    ImageDraw.Draw(whole).text((_MARGIN, picture.height + _MARGIN), text, "white", font)
    return whole
