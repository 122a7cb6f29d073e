"""Pixels that are not square are not read as if they were."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from client.data.images.readers import read_image, read_raw_mask
from shared.errors import DataError
from tests.client.data.formats.dicom_files import item, written

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)
NOT_SQUARE = "pixels are not square"


def png(path: Path, across: int, down: int, unit: int) -> Path:
    Image.fromarray(GREY).save(path)
    content = path.read_bytes()
    said = b"pHYs" + struct.pack(">IIB", across, down, unit)
    part = struct.pack(">I", 9) + said + struct.pack(">I", zlib.crc32(said))
    path.write_bytes(content[:33] + part + content[33:])
    return path


@pytest.mark.parametrize("unit", [0, 1])
def test_a_png_says_the_height_of_its_pixels(tmp_path: Path, unit: int) -> None:
    flat = png(tmp_path / "flat.png", 2, 1, unit)
    with pytest.raises(DataError, match=NOT_SQUARE):
        read_image(flat)
    with pytest.raises(DataError, match=NOT_SQUARE):
        read_raw_mask(flat)
    assert (read_image(png(tmp_path / "square.png", 3780, 3779, unit)).array[0] == GREY).all()


def test_so_do_jpeg_and_bmp(tmp_path: Path) -> None:
    for name, dots in (("a.jpg", (300, 150)), ("b.bmp", (72, 144))):
        Image.fromarray(GREY).save(tmp_path / name, dpi=dots)
        with pytest.raises(DataError, match=NOT_SQUARE):
            read_image(tmp_path / name)
    Image.fromarray(GREY).save(tmp_path / "square.jpg", dpi=(300, 300))
    assert read_image(tmp_path / "square.jpg").shape == (8, 8)
    exif = Image.Exif()
    exif[282], exif[283] = 72.0, 144.0
    Image.fromarray(GREY).save(tmp_path / "exif.jpg", exif=exif)
    with pytest.raises(DataError, match=NOT_SQUARE):
        read_image(tmp_path / "exif.jpg")


def test_a_tiff_too_unless_it_says_the_size_of_a_pixel(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY)
    picture.save(tmp_path / "a.tif", tiffinfo={282: 300.0, 283: 150.0, 296: 2})
    with pytest.raises(DataError, match=NOT_SQUARE):
        read_image(tmp_path / "a.tif")
    ome = '<OME><Image><Pixels SizeX="8" SizeY="8" PhysicalSizeX="1" PhysicalSizeY="2"/></Image></OME>'
    picture.save(tmp_path / "b.tif", tiffinfo={270: ome, 282: 300.0, 283: 150.0})
    assert read_image(tmp_path / "b.tif").spacing == pytest.approx((0.002, 0.001))


def region(down: float, across: float) -> Dataset:
    units = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "RegionSpatialFormat": 1}
    return item(PhysicalDeltaX=across, PhysicalDeltaY=down, **units)


@pytest.mark.parametrize(
    "tags",
    [{"PixelAspectRatio": [2, 1]}, {"SequenceOfUltrasoundRegions": Sequence([region(0.02, 0.01)])}],
    ids=["ratio", "ultrasound"],
)
def test_dicom_too_unless_it_says_the_spacing(tmp_path: Path, tags: dict[str, object]) -> None:
    pixels = GREY.astype(np.uint16)
    with pytest.raises(DataError, match=NOT_SQUARE):
        read_image(written(tmp_path / "a.dcm", pixels, **tags))
    assert read_image(written(tmp_path / "b.dcm", pixels, PixelAspectRatio=[1, 1])).spacing is None
    assert read_image(written(tmp_path / "c.dcm", pixels, PixelSpacing=[2, 1], **tags)).spacing == (2, 1)
