"""Small valid DICOM files of our own: single, of many frames, packed, segmentations, structure sets."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

SIDE, SLICES = 8, 4
CT, ENHANCED, STRUCTURES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.481.3",
)
File = tuple[str, bytes, bool]
"""(kind, content, whether it is a mask)"""


def dicom_files(folder: Path) -> Iterator[File]:
    """Yield the files, in a fixed order."""
    warnings.simplefilter("ignore")
    one = single(0)
    yield "single", _written(one, folder), False
    yield "implicit", _written(single(0), folder, ImplicitVRLittleEndian), False
    for kind, syntax in (("RLE", RLELossless), ("JPEG-LS", JPEGLSLossless)):
        packed = single(0)
        packed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        packed.compress(syntax, generate_instance_uid=False)
        yield kind, _written(packed, folder), False
    yield (
        "padding",
        _written(single(0, PixelPaddingValue=3, PhotometricInterpretation="MONOCHROME1"), folder),
        False,
    )
    yield "modality table", _written(_with_table(), folder), False
    yield "palette", _written(_palette(), folder), False
    yield "cine", _written(_cine(), folder), False
    yield "enhanced", _written(enhanced(), folder), False
    yield "SEG", _segmentation(folder), True
    yield "RTSTRUCT", _written(structures(), folder), True


def single(number: int, **tags: object) -> Dataset:
    """Return one slice of a CT."""
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = CT
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"1.2.5.{number}"
    item.PatientID, item.StudyInstanceUID, item.SeriesInstanceUID, item.Modality = "p", "1.2", "1.2.3", "CT"
    item.FrameOfReferenceUID, item.PatientName, item.StudyID, item.AccessionNumber = "1.2.4", "p", "", ""
    for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(item, name, "")
    item.ImageType, item.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number
    item.Rows = item.Columns = SIDE
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    item.ImageOrientationPatient, item.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10, 20, 5 + 3 * number]
    item.PixelSpacing, item.SliceThickness = [1, 0.5], 3
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.PixelData = (np.arange(SIDE * SIDE, dtype=np.uint16) + 100 * number).tobytes()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def _written(item: Dataset, folder: Path, syntax: str = ExplicitVRLittleEndian) -> bytes:
    path = folder / "x.dcm"
    if "TransferSyntaxUID" not in item.file_meta:
        item.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    return path.read_bytes()


def _with_table() -> Dataset:
    table, item = Dataset(), single(0)
    table.LUTDescriptor, table.ModalityLUTType = [256, 0, 16], "US"
    table.LUTData = (np.arange(256, dtype=np.uint16) * 3).tobytes()
    table["LUTData"].VR, table["LUTDescriptor"].VR = "OW", "US"
    item.ModalityLUTSequence = [table]
    del item.RescaleSlope, item.RescaleIntercept
    return item


def _palette() -> Dataset:
    item = single(0, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7)
    for colour in ("Red", "Green", "Blue"):
        setattr(item, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(item, f"{colour}PaletteColorLookupTableData", np.arange(256, dtype=np.uint16).tobytes())
    item.PixelData = bytes(range(SIDE * SIDE))
    return item


def _cine() -> Dataset:
    return single(0, NumberOfFrames=2, PixelData=bytes(2 * 2 * SIDE * SIDE))


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def enhanced() -> Dataset:
    """Return an enhanced CT whose frames lie in space."""
    slices = [single(number) for number in range(SLICES)]
    item = single(0, SOPClassUID=ENHANCED, NumberOfFrames=SLICES)
    item.file_meta.MediaStorageSOPClassUID = ENHANCED
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(item, name)
    item.PixelData = b"".join(one.PixelData for one in slices)
    item.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=one.ImageOrientationPatient)],
            PixelMeasuresSequence=[_item(PixelSpacing=one.PixelSpacing, SliceThickness=3)],
            PixelValueTransformationSequence=[_item(RescaleSlope=2, RescaleIntercept=-10, RescaleType="HU")],
            FrameContentSequence=[_item(DimensionIndexValues=[1])],
        )
        for one in slices
    ]
    item.SharedFunctionalGroupsSequence = [Dataset()]
    return item


def _segmentation(folder: Path) -> bytes:
    sources = []
    for number in range(SLICES):
        (folder / "source.dcm").write_bytes(_written(single(number), folder))
        sources.append(pydicom.dcmread(folder / "source.dcm"))
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    labels[1, 2:4, 3:6], labels[2, 5, 5] = 1, 2
    manual = highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
    described = [
        highdicom.seg.SegmentDescription(number, label, codes.SCT.Tissue, codes.SCT.Tissue, manual)
        for number, label in ((1, "edema"), (2, "core"))
    ]
    seg = highdicom.seg.Segmentation(
        sources, labels, "BINARY", described, "1.2.8", 1, "1.2.9", 1, "us", "model", "1", "serial"
    )
    for name in ("InstanceCreation", "Content", "Series"):
        setattr(seg, f"{name}Date", "20260101")
        setattr(seg, f"{name}Time", "120000")
    seg.save_as(folder / "seg.dcm")
    return (folder / "seg.dcm").read_bytes()


def structures() -> Dataset:
    """Return a structure set with one contour on the second slice."""
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = STRUCTURES
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = "1.2.7"
    corners = [(-9, 21), (-7, 21), (-7, 25), (-9, 25)]
    data = [number for x, y in corners for number in (x, y, 8)]
    contour = _item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=data)
    item.StructureSetROISequence = [_item(ROINumber=1, ROIName="liver")]
    item.ROIContourSequence = [_item(ReferencedROINumber=1, ContourSequence=[contour])]
    return item


def series() -> list[Dataset]:
    """Return the slices on which segmentation and structures lie."""
    return [single(number) for number in range(SLICES)]
