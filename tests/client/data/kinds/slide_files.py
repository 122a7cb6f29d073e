"""Small whole slides for tests: a TIFF as Aperio writes it, a plain pyramid, and one in DICOM."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, generate_uid

from tests.client.data.formats.dicom_files import item

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
GLASS, STAIN = (242, 240, 243), (190, 60, 150)
SIDE = 64  # of a stored tile
APERIO = "Aperio Image Library v1\r\n{0}x{1} [0,0 {0}x{1}] ({2}x{2})|AppMag = 40|MPP = {3}|Filename = 4711"


def pixels(side: int = 512) -> NDArray[np.uint8]:
    """Return glass with a square of tissue in its middle, a quarter of the picture, in which rows differ."""
    whole = np.full((side, side, 3), GLASS, np.uint8)
    inner = slice(side // 4, 3 * side // 4)
    whole[inner, inner] = STAIN
    whole[inner, inner, 0] -= np.arange(side // 2, dtype=np.uint8)[:, None] // 4
    return whole


def halved(whole: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(whole).reduce(2))


def pyramid(path: Path, mpp: float = 0.5, *, within: bool = True, **more: Any) -> Path:
    """Write a TIFF with three levels, within the first or as pages; it says pixels per centimetre."""
    whole = pixels()
    resolution = (1e4 / mpp, 1e4 / mpp)
    options: dict[str, Any] = {"tile": (SIDE, SIDE), "photometric": "rgb", "compression": "zlib", **more}
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate((whole, halved(whole), halved(halved(whole)))):
            file.write(
                level,
                subifds=2 if within and not number else None,
                subfiletype=1 if number else 0,
                resolution=resolution,
                resolutionunit="CENTIMETER",
                metadata=None,
                **options,
            )
    return path


def aperio(path: Path, mpp: float = 0.5) -> Path:
    """Write a slide with the pages that Aperio's scanners write: levels, a thumbnail, label and overview."""
    whole = pixels()
    text = APERIO.format(512, 512, SIDE, mpp)
    red = np.zeros((80, 100, 3), np.uint8) + np.uint8(200)
    with tifffile.TiffWriter(path) as file:
        stored = {"photometric": "rgb", "metadata": None}
        tiled = {"tile": (SIDE, SIDE), "compression": "zlib", **stored}
        file.write(whole, description=text, **tiled)
        file.write(halved(halved(whole)), description="Aperio Image Library\r\nthumbnail", **stored)
        file.write(halved(whole), description=f"{text}|", **tiled)
        file.write(red, description="Aperio Image Library v1\r\nlabel 100x80", subfiletype=1, **stored)
        file.write(red, description="Aperio Image Library v1\r\nmacro 100x80", subfiletype=9, **stored)
    return path


def packed(path: Path, tiles: list[bytes], packing: int, colours: int) -> Path:
    """Write a TIFF of one level whose tiles are packed already.

    Args:
        path: The file.
        tiles: Those of `pixels()`, row by row.
        packing: The tag Compression.
        colours: The tag PhotometricInterpretation.
    """
    begins = [8 + sum(map(len, tiles[:number])) for number in range(len(tiles))]
    content = b"".join(tiles)
    content += b"\0" * (len(content) % 2)
    at = 8 + len(content)
    entries = [
        (256, 4, 1, 512), (257, 4, 1, 512), (258, 3, 3, at), (259, 3, 1, packing), (262, 3, 1, colours),
        (277, 3, 1, 3), (282, 5, 1, at + 6), (283, 5, 1, at + 6), (296, 3, 1, 3), (322, 3, 1, SIDE),
        (323, 3, 1, SIDE), (324, 4, len(tiles), at + 14), (325, 4, len(tiles), at + 14 + 4 * len(tiles)),
    ]  # fmt: skip
    beside = struct.pack("<HHHII", 8, 8, 8, 20_000, 1)
    beside += struct.pack(f"<{2 * len(tiles)}I", *begins, *map(len, tiles))
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, at + len(beside)) + content + beside + table + b"\0" * 4)
    return path


def cut(whole: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the tiles of a picture, row by row."""
    rows, columns = (range(0, length, SIDE) for length in whole.shape[:2])
    return [whole[top : top + SIDE, left : left + SIDE] for top in rows for left in columns]


def jpeg(tile: NDArray[np.uint8], **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=95, subsampling=0, **options)
    return stream.getvalue()


def jpeg_2000(tile: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    return stream.getvalue()


def dicom(folder: Path, mpp: float = 0.5, *, lossy: bool = False) -> Path:
    """Write a folder with two levels of a slide in JPEG 2000, or JPEG, and its label."""
    folder.mkdir()
    series = generate_uid()
    whole = pixels()
    _level(folder / "0.dcm", whole, mpp, series, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], lossy=lossy)
    _level(
        folder / "1.dcm",
        halved(whole),
        2 * mpp,
        series,
        ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"],
        lossy=lossy,
    )
    label = np.zeros((SIDE, SIDE, 3), np.uint8)
    _level(folder / "2.dcm", label, 4 * mpp, series, ["ORIGINAL", "PRIMARY", "LABEL", "NONE"], lossy=lossy)
    return folder


def _level(
    path: Path, whole: NDArray[np.uint8], mpp: float, series: str, kind: list[str], *, lossy: bool
) -> None:
    rows, columns = whole.shape[:2]
    tiles = [(jpeg if lossy else jpeg_2000)(tile) for tile in cut(whole)]
    measures = item(PixelSpacing=[mpp / 1000, mpp / 1000], SliceThickness=0.001)
    optical = item(OpticalPathIdentifier="1", IlluminationTypeCodeSequence=Sequence([_code()]))
    file: Dataset = item(
        SOPClassUID=WHOLE_SLIDE,
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID="1.2.4",
        SeriesInstanceUID=series,
        FrameOfReferenceUID="1.2.5",
        Modality="SM",
        PatientID="p",
        PatientName="A^B",
        ImageType=kind,
        Rows=SIDE,
        Columns=SIDE,
        NumberOfFrames=len(tiles),
        TotalPixelMatrixRows=rows,
        TotalPixelMatrixColumns=columns,
        TotalPixelMatrixOriginSequence=Sequence(
            [item(XOffsetInSlideCoordinateSystem=0, YOffsetInSlideCoordinateSystem=0)]
        ),
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        DimensionOrganizationType="TILED_FULL",
        NumberOfOpticalPaths=1,
        TotalPixelMatrixFocalPlanes=1,
        OpticalPathSequence=Sequence([optical]),
        SharedFunctionalGroupsSequence=Sequence([item(PixelMeasuresSequence=Sequence([measures]))]),
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422" if lossy else "YBR_RCT",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=encapsulate(tiles),
    )
    file["PixelData"].VR = "OB"
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if lossy else JPEG2000Lossless
    file.file_meta.MediaStorageSOPClassUID = WHOLE_SLIDE
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    pydicom.dcmwrite(path, file, enforce_file_format=True)


def _code() -> Dataset:
    return item(CodeValue="111744", CodingSchemeDesignator="DCM", CodeMeaning="Brightfield illumination")
