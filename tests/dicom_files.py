"""DICOM as a scanner writes it, small: what a validator finds no fault with."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

UPRIGHT = (1.0, 0, 0, 0, 1.0, 0)


def uid(text: str) -> UID:
    """Return a UID that is the same for the same text."""
    return UID(pydicom.uid.generate_uid(entropy_srcs=[text]))


def write_ct(
    folder: Path,
    volume: NDArray[np.integer],
    *,
    patient: str = "p1",
    series: str = "series",
    orientation: tuple[float, ...] = UPRIGHT,
    spacing: tuple[float, float, float] = (2.0, 0.8, 0.7),
    origin: tuple[float, float, float] = (-20.0, 15.0, 30.0),
) -> list[Path]:
    """Write a volume (slices, rows, columns) as a CT series, files in no order of their places."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    files = []
    for number, pixels in enumerate(volume.astype(np.int16)):
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = CTImageStorage
        name = uid(f"{patient} {series} {number}")
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = name
        item.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        item.Modality, item.PatientID, item.PatientName = "CT", patient, f"{patient}^Test"
        item.PatientBirthDate, item.PatientSex, item.StudyID, item.AccessionNumber = (
            "",
            "O",
            "1",
            f"A{patient}",
        )
        item.StudyDate, item.StudyTime, item.ReferringPhysicianName = "20260102", "030405", ""
        item.StudyInstanceUID, item.SeriesInstanceUID = uid(patient), uid(f"{patient} {series}")
        item.FrameOfReferenceUID, item.PositionReferenceIndicator = uid(f"{patient} frame"), ""
        item.SeriesNumber, item.InstanceNumber, item.AcquisitionNumber = 3, number + 1, 1
        item.Manufacturer, item.KVP, item.RescaleType = "Test", 120, "HU"
        item.ImageOrientationPatient = list(orientation)
        item.ImagePositionPatient = [f"{x:.8g}" for x in np.array(origin) + normal * spacing[0] * number]
        item.PixelSpacing, item.SliceThickness = list(spacing[1:]), spacing[0]
        item.Rows, item.Columns = pixels.shape
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 1
        item.RescaleIntercept, item.RescaleSlope = 0, 1
        item.PixelData = pixels.tobytes()
        files.append(folder / f"{(number * 7 + 3) % 100:03d}.dcm")
        pydicom.dcmwrite(files[-1], item, enforce_file_format=True)
    return files


def faults(file: Path) -> list[str]:
    """Return the errors that dicom3tools finds in a file; skips the test where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy, of Debian's package dicom3tools")
    ended = subprocess.run(["dciodvfy", "-new", file], capture_output=True, text=True, check=False)
    return [line for line in ended.stderr.splitlines() if line.startswith("Error")]
