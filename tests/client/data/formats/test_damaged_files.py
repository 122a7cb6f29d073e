"""Damaged and crafted files: refused in words before memory is taken, or read as the whole one."""

import contextlib
import gzip
import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from client.data.formats.library_messages import standard_error_heard, warnings_heard
from client.data.formats.png import require_sound
from client.data.images.readers import read_image
from shared.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SHIPPED = Path(pydicom.data.__file__).parent / "test_files"
GREY = np.random.default_rng(1).integers(0, 255, (9, 7)).astype(np.uint8)
VOLUME = np.random.default_rng(1).integers(0, 999, (6, 5, 4)).astype(np.int16)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def itk(folder: Path, name: str, packed: bool = True) -> bytes:
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(folder / name), packed)
    return (folder / name).read_bytes()


def pages(sizes: tuple[tuple[int, int], ...] = ((5, 6),) * 3) -> bytes:
    first, *others = [Image.fromarray(np.full(size, 7, np.uint8)) for size in sizes]
    return saved(lambda to: first.save(to, "TIFF", save_all=True, append_images=others))


def dicom(**tags: object) -> bytes:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    item.Rows, item.Columns, item.SamplesPerPixel, item.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    item.PixelData = np.arange(20, dtype=np.uint16).tobytes()
    for name, value in tags.items():
        setattr(item, name, value)
    return saved(lambda to: pydicom.dcmwrite(to, item, enforce_file_format=True))


WHOLE: dict[str, Callable[[Path], bytes]] = {
    "x.png": lambda _: saved(lambda to: Image.fromarray(GREY).save(to, "PNG")),
    "x.nii.gz": lambda _: gzip.compress(nibabel.Nifti1Image(VOLUME, np.diag([1, 2, 3, 1])).to_bytes()),
    "x.nii": lambda _: nibabel.Nifti1Image(VOLUME, np.diag([1, 2, 3, 1])).to_bytes(),
    "x.mha": lambda folder: itk(folder, "x.mha"),
    "x.nrrd": lambda folder: itk(folder, "x.nrrd"),
    "x.tif": lambda _: pages(),
    "x.dcm": lambda _: dicom(),
    "x.npy": lambda _: saved(lambda to: np.save(to, VOLUME)),
    "x.bmp": lambda _: saved(lambda to: Image.fromarray(GREY).save(to, "BMP")),
}


@pytest.mark.parametrize("name", WHOLE)
@given(st.data())
def test_a_file_cut_anywhere_is_refused_or_has_all_its_numbers(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("cut")
    path = folder / name
    content = WHOLE[name](folder)
    path.write_bytes(content)
    expected = read_image(path).array
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    try:
        found = read_image(path).array
    except DataError:
        return
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["x.png", "x.nii.gz"])
@given(st.data())
def test_a_bit_that_turned_is_noticed_where_there_is_a_checksum(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("bit") / name
    content = bytearray(WHOLE[name](path.parent))
    path.write_bytes(content)
    expected = read_image(path).array
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = read_image(path).array
    except DataError:
        return
    np.testing.assert_array_equal(found, expected)


def test_a_png_with_fewer_rows_than_its_header_says_is_refused(tmp_path):
    content = bytearray(WHOLE["x.png"](tmp_path))
    content[20:24] = struct.pack(">I", 4000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match="holds 72 of the 32000 bytes"):
        read_image(tmp_path / "x.png")


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["L", "RGB", "RGBA", "1", "P", "LA", "I;16"]),
    st.integers(0, 2**32),
)
def test_every_whole_png_is_sound_and_has_the_pixels_that_pillow_unpacks(
    tmp_path_factory, width, height, mode, seed
):
    path = tmp_path_factory.mktemp("png") / "x.png"
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4)).astype(np.uint8)
    picture = Image.fromarray(pixels if mode != "I;16" else pixels[..., 0].astype(np.uint16) * 257)
    (picture if mode == "I;16" else picture.convert("RGB").convert(mode)).save(path)
    with path.open("rb") as file, Image.open(path) as expected:
        depth, whole = require_sound(file, path)
        assert depth is not None
        found = whole if isinstance(whole, Image.Image) else Image.open(whole)
        assert found.mode == expected.mode
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_a_huge_picture_is_not_unpacked_into_memory_twice(tmp_path):
    path = tmp_path / "x.png"
    header = struct.pack(">IIBBBBB", 2**12, 2**12, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2**12 * (2**12 + 1)), 1)
    end = part(b"IEND", b"")
    path.write_bytes(SIGNATURE[:8] + part(b"IHDR", header) + part(b"IDAT", pixels) + end)
    with path.open("rb") as file:
        _, whole = require_sound(file, path)
        assert whole is file
    path.write_bytes(SIGNATURE[:8] + part(b"IHDR", header) + part(b"IDAT", pixels[:-4] + bytes(4)) + end)
    with path.open("rb") as file, pytest.raises(DataError, match="damaged"):
        require_sound(file, path)


def parts_of(content: bytes) -> list[bytes]:
    """Return the parts of a PNG behind its first eight bytes."""
    found, at = [], 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        found.append(content[at:end])
        at = end
    return found


def part(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def test_pixels_in_two_parts_are_one_picture_unless_another_part_stands_between(tmp_path):
    path, content = tmp_path / "x.png", WHOLE["x.png"](tmp_path)
    header, pixels, end = parts_of(content)
    packed = pixels[8:-4]
    halves = [part(b"IDAT", packed[:20]), part(b"IDAT", packed[20:])]
    path.write_bytes(content[:8] + b"".join([header, *halves, end]))
    np.testing.assert_array_equal(read_image(path).array[0], GREY)
    path.write_bytes(content[:8] + b"".join([header, halves[0], part(b"teXt", b"a"), halves[1], end]))
    with pytest.raises(DataError, match="several places"):
        read_image(path)
    empty = part(b"IHDR", struct.pack(">II", 0, 200_000_000) + header[16:21])
    path.write_bytes(content[:8] + b"".join([empty, pixels, end]))
    with pytest.raises(DataError, match="has no pixels"):
        read_image(path)
    path.write_bytes(content[:8] + b"".join([header, header, pixels, end]))
    with pytest.raises(DataError, match="two headers"):
        read_image(path)


def field(name: str, value: object) -> bytes:
    """Return a NIfTI file with one field of its header changed."""
    content = bytearray(WHOLE["x.nii"](Path()))
    dtype, offset = nibabel.Nifti1Header.template_dtype.fields[name][:2]
    content[offset : offset + dtype.itemsize] = np.array(value, dtype.base).tobytes()
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("vox_offset", 0, "numbers begin at byte 0"),
        ("dim", [3, 32767, 32767, 32767, 1, 1, 1, 1], "too many for a file"),
        ("dim", [3, -6, 5, 4, 1, 1, 1, 1], "-6"),
        ("datatype", 9999, "numbers of type 9999"),
        ("scl_slope", np.inf, "scales its numbers by what is not a number"),
        ("xyzt_units", 5, "in the unit 5"),
    ],
)
def test_a_header_of_nifti_that_can_not_be_is_refused(tmp_path, name, value, said):
    (tmp_path / "x.nii").write_bytes(field(name, value))
    with pytest.raises(DataError, match=said):
        read_image(tmp_path / "x.nii")


def test_what_is_mended_or_said_twice_in_a_header_is_a_note(tmp_path):
    path = tmp_path / "x.nii"
    path.write_bytes(field("sform_code", 77))
    assert "sform_code 77 not valid" in " ".join(read_image(path).notes)
    path.write_bytes(field("pixdim", [1, 9, 2, 3, 1, 1, 1, 1]))
    picture = read_image(path)
    assert picture.spacing == (1, 2, 3)
    assert "voxels of 9 x 2 x 3 mm, its sform of 1 x 2 x 3" in " ".join(picture.notes)


def test_an_extension_that_reaches_into_the_numbers_is_refused(tmp_path):
    image = nibabel.Nifti1Image(VOLUME, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"who and when"))
    content = bytearray(image.to_bytes())
    (tmp_path / "x.nii").write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "x.nii").array[0], VOLUME)
    content[352:356] = struct.pack("<i", 135)
    (tmp_path / "x.nii").write_bytes(content)
    with pytest.raises(DataError, match="an extension of 135 bytes"):
        read_image(tmp_path / "x.nii")


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_a_volume_behind_the_one_of_the_header_is_not_passed_over(tmp_path, name):
    content = nibabel.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.eye(4)).to_bytes()
    packed = gzip.compress if name.endswith("gz") else bytes
    (tmp_path / name).write_bytes(packed(content + bytes(512)))
    assert read_image(tmp_path / name).shape == (40, 40, 40)
    (tmp_path / name).write_bytes(packed(content + bytes(128_000)))
    with pytest.raises(DataError, match="far more numbers than its header says"):
        read_image(tmp_path / name)


def test_an_array_s_header_is_no_longer_than_its_file(tmp_path):
    content = bytearray(WHOLE["x.npy"](tmp_path))
    content[6:12] = b"\2\0" + struct.pack("<I", 662_372_470)
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match="says that it has 662372470 bytes"):
        read_image(tmp_path / "x.npy")


def test_a_small_packed_file_that_claims_a_large_image_is_refused(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(field("dim", [3, 2000, 2000, 2000, 1, 1, 1, 1])))
    with pytest.raises(DataError, match="too many for a file of"):
        read_image(tmp_path / "x.nii.gz")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("LOCAL", "%s%n", "not a file of its folder"),
        ("LOCAL", "/etc/hostname", "not a file of its folder"),
        ("LOCAL", "LIST", "not a file of its folder"),
        ("ElementDataFile = ", "ElementDataFile ", "where its numbers are"),
        ("NDims = 3", "NDims = 99999999999", "axes"),
        ("DimSize = 4 5 6", "DimSize = 4 5", "2 numbers in DimSize"),
        ("Offset = 0 0 0", "Offset = 0 1e308 0", "1e308 in its header"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 nan", "nan in its header"),
    ],
)
def test_headers_with_which_itk_ends_the_process_are_refused(tmp_path, old, new, said):
    content = itk(tmp_path, "x.mha", packed=False)
    assert old.encode() in content
    (tmp_path / "x.mha").write_bytes(content.replace(old.encode(), new.encode()))
    with pytest.raises(DataError, match=re.escape(said)):
        read_image(tmp_path / "x.mha")


def test_a_line_of_a_header_is_no_longer_than_itk_copies(tmp_path):
    content = itk(tmp_path, "x.nrrd")
    (tmp_path / "x.nrrd").write_bytes(content.replace(b"space origin: ", b"space origin: (1," * 2000, 1))
    with pytest.raises(DataError, match="line of 3"):
        read_image(tmp_path / "x.nrrd")


def test_pages_of_several_sizes_or_in_a_circle_are_no_volume(tmp_path):
    path = tmp_path / "x.tif"
    path.write_bytes(pages(((5, 6), (5000, 6))))
    with pytest.raises(DataError, match="several sizes"):
        read_image(path)
    content = bytearray(pages())
    entries = struct.unpack("<H", content[8:10])[0]
    content[10 + 12 * entries : 14 + 12 * entries] = struct.pack("<I", 8)
    path.write_bytes(content)
    with pytest.raises(DataError, match="circle"):
        read_image(path)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"HighBit": 15}, "highest of its 12 bits is number 15"),
        ({"PhotometricInterpretation": "ARGB"}, "kind 'ARGB'"),
        ({"Rows": 60000, "Columns": 60000}, "too many for a file"),
        ({"PixelData": bytes(400)}, "more pixels than its header says"),
        ({"PixelData": b"\xfe\xff\x00\xe0" + bytes(36)}, "how its pixels are packed"),
    ],
)
def test_pixels_that_are_not_what_the_header_says_are_refused(tmp_path, tags, said):
    (tmp_path / "x.dcm").write_bytes(dicom(**tags))
    with pytest.raises(DataError, match=said):
        read_image(tmp_path / "x.dcm")


@pytest.mark.parametrize(
    "name", ["JPGExtended.dcm", "JPEG-lossy.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG2000.dcm"]
)
def test_packed_pixels_are_of_the_size_of_their_own_head(tmp_path, name):
    dataset = pydicom.dcmread(SHIPPED / name)
    dataset.Rows += 8
    dataset.save_as(tmp_path / "x.dcm")
    with pytest.raises(DataError, match="and packs"):
        read_image(tmp_path / "x.dcm")


def test_jpeg_of_twelve_bits_is_what_another_reader_reads():
    path = SHIPPED / "JPGExtended.dcm"
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(read_image(path).array, other)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm"])
def test_a_damaged_stream_ends_nothing_but_its_own_reading(tmp_path, name):
    content = (SHIPPED / name).read_bytes()
    whole = read_image(SHIPPED / name).array
    begin = content.index(b"\xff\xd8\xff")
    for seed in range(6):
        noise = np.random.default_rng(seed).bytes(1500)
        at = begin + 60 + 40 * seed
        (tmp_path / "x.dcm").write_bytes(content[:at] + noise + content[at + len(noise) :])
        with contextlib.suppress(DataError):
            assert np.isfinite(read_image(tmp_path / "x.dcm").array).all()
    np.testing.assert_array_equal(read_image(SHIPPED / name).array, whole)


def test_a_value_that_claims_four_gigabytes_is_a_file_cut_short(tmp_path):
    content = dicom(PatientComments="x" * 8)
    at = content.index(b"x" * 8)
    (tmp_path / "x.dcm").write_bytes(content[: at - 2] + b"\xf0\xff" + content[at:])
    with pytest.raises(DataError, match="was cut short"):
        read_image(tmp_path / "x.dcm")


def test_numbers_whose_squares_overflow_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.full((4, 4), 3e30, np.float32))
    with pytest.raises(DataError, match="up to 3e\\+30"):
        read_image(tmp_path / "x.npy")


def test_what_libraries_print_is_heard_and_what_others_print_goes_its_way(capfd):
    with standard_error_heard(re.compile("^TIFF")) as said, warnings_heard() as warned:
        os.write(2, b"TIFFFillStrip: Read error\nheartbeat of another thread\n")
        nibabel.imageglobals.logger.warning("sform_code 9")
    assert (said, warned) == (["TIFFFillStrip: Read error"], ["sform_code 9"])
    assert capfd.readouterr().err == "heartbeat of another thread\n"
