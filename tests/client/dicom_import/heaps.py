"""Heaps of DICOM as a hospital exports them, small enough for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.client.data.formats.dicom_files import written

AXIAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]
MR = "1.2.840.10008.5.1.4.1.1.4"
RULES = """
rows = "study"
[series.flair]
modality = "MR"
description = ["flair"]
orientation = "axial"
slices = [3, 10]
[series.t1]
description = ["t1"]
without = ["localizer"]
"""


def write_key(folder: Path) -> None:
    """Write a hospital's key by which patients are always on the same side, and somebody trains."""
    path = folder / "pseudonym.key"
    path.touch(0o600)
    path.write_bytes(b"a key of a test, of 32 bytes ...")


def write_series(
    folder: Path,
    patient: str,
    study: int,
    series: int,
    description: str,
    *,
    slices: int = 3,
    ways: list[int] = AXIAL,
    **tags: Any,
) -> list[Path]:
    """Write the slices of one MR series, in a heap: their names say nothing."""
    normal = np.cross(ways[:3], ways[3:])
    given = {
        "Modality": "MR",
        "PatientName": f"Name^{patient}",
        "PatientBirthDate": "19500101",
        "StudyDate": "20200310",
        "AccessionNumber": f"ACC{study}",
        "SeriesDescription": description,
        "ImageOrientationPatient": ways,
        "PixelSpacing": [1.0, 1.0],
        "SliceThickness": 2.0,
        **tags,
    }
    return [
        written(
            folder / f"{study}-{series}-{slices - number}",
            np.arange(64, dtype=np.int16).reshape(8, 8) + number + series,
            kind=MR,
            PatientID=patient,
            StudyInstanceUID=f"1.2.{study}",
            SeriesInstanceUID=f"1.2.{study}.{series}",
            SOPInstanceUID=f"1.2.{study}.{series}.{number}",
            FrameOfReferenceUID=f"1.3.{study}",
            SeriesNumber=series,
            ImagePositionPatient=[float(part) for part in 2.0 * number * normal],
            **given,
        )
        for number in range(slices)
    ]


def write_heap(folder: Path, patients: int = 4) -> Mapping[str, str]:
    """Write studies with a FLAIR and a T1 each, and what else there is; returns accession by patient."""
    found = {}
    for number in range(1, 1 + patients):
        patient, study = f"HOSP{number:04}", 100 + number
        write_series(folder, patient, study, 1, "localizer", ways=SAGITTAL, slices=2)
        write_series(folder, patient, study, 2, "AX FLAIR fs")
        write_series(folder, patient, study, 3, "t1_mprage", slices=4)
        found[patient] = f"ACC{study}"
    (folder / "README.txt").write_text("not an image")
    return found
