"""One DICOM file: a picture, a mosaic of a volume's slices, or a volume of many frames."""

from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client.data.formats.dicom.bytes import read_whole
from client.data.formats.dicom.frames import read_frames
from client.data.formats.dicom.mosaic import is_mosaic, read_mosaic
from client.data.formats.dicom.place import pixel_spacing, plane_of
from client.data.formats.dicom.values import read_frame
from client.data.formats.picture import Picture, Turn
from shared.errors import DataError

_PLAIN = {  # (implicit VR, little endian) of the elements -> of the pixels
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


def read_file(path: Path, dimensions: int | None) -> Picture:
    """Read one DICOM file.

    Args:
        path: The file; it may lack the preamble.
        dimensions: 3 keeps a volume of one slice a volume.

    Raises:
        DataError: It holds no image, or one that is not read; says which.
    """
    dataset = load(path)
    modality = str(dataset.get("Modality") or "")
    return replace(picture_of(dataset, path, dimensions), frame=frame_of(dataset), modality=modality)


def load(path: Path) -> Dataset:
    """Read a file as DICOM, whatever it begins with.

    Raises:
        DataError: It is none, or was cut short.
    """
    dataset = read_whole(path)
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise DataError("is not a DICOM file", where=path)
    if "TransferSyntaxUID" not in dataset.file_meta:  # PS3.5 10.1 names the default
        dataset.file_meta.TransferSyntaxUID = _PLAIN.get(dataset.original_encoding, ImplicitVRLittleEndian)
    return dataset


def frame_of(dataset: Dataset) -> str:
    """Return the frame of reference from which a file's places count; empty where it does not say."""
    return str(dataset.get("FrameOfReferenceUID") or "")


def picture_of(dataset: Dataset, path: Path, dimensions: int | None) -> Picture:
    """Return what a file that was read holds; see `read_file`."""
    if int(dataset.get("NumberOfFrames") or 1) > 1 or "PerFrameFunctionalGroupsSequence" in dataset:
        return read_frames(dataset, path, dimensions)
    if is_mosaic(dataset):
        return read_mosaic(dataset, path, dimensions)
    if dimensions == 3:
        raise DataError(
            "is one slice, but the job wants volumes",
            where=path,
            remedy="Give the folder that holds the series.",
        )
    frame, plane = read_frame(dataset, path), plane_of(dataset, path)
    affine = None if plane is None else plane.affine()
    return Picture(frame.array, pixel_spacing(dataset, path), affine, Turn.none(2), frame.padding)
