"""Pictures, MetaImage and NRRD that other programs write: read right, or refused with the reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from client.data.formats.tiff_pages import require_pages
from client.data.images.readers import read_image, read_images, read_mask
from shared.errors import DataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
VOLUME = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
RGB = np.stack([GREY, GREY + 20, GREY + 40], axis=-1)
Tags = dict[int, tuple[int, tuple[int, ...]]]


def tiff(
    path: Path,
    pages: list[NDArray[np.generic]],
    *,
    bits: int = 8,
    kind: int = 1,
    samples: int = 1,
    text: str = "",
    more: Tags | None = None,
) -> Path:
    """Write a TIFF of one strip a page, with whatever tags (kind of number: 3 is short, 4 long)."""
    out = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for number, page in enumerate(pages):
        content = np.packbits(page, axis=1).tobytes() if bits == 1 else page.tobytes()
        planar = more is not None and more.get(284) == (3, (2,))
        height, width = page.shape[1:] if planar else page.shape[:2]
        strips = samples if planar else 1
        size = len(content) // strips
        tags: Tags = {256: (3, (width,)), 257: (3, (height,)), 258: (3, (bits,) * samples), 259: (3, (1,))}
        tags |= {262: (3, (kind,)), 277: (3, (samples,)), 278: (3, (height,)), **(more or {})}
        tags |= {273: (4, tuple(size * strip for strip in range(strips))), 279: (4, (size,) * strips)}
        described = text.encode() + b"\0" if text and not number else b""
        count = len(tags) + bool(described)
        extra_at, extra = len(out) + 2 + 12 * count + 4, bytearray(described)
        long = sum(4 * strips for tag in (273, 279) if strips > 1) + (2 * samples if samples > 2 else 0)
        data_at = extra_at + len(extra) + long
        entries = {270: struct.pack("<HHII", 270, 2, len(described), extra_at)} if described else {}
        for tag, (form, numbers) in tags.items():
            shifted = tuple(data_at + offset for offset in numbers) if tag == 273 else numbers
            value = struct.pack(f"<{len(numbers)}{'H' if form == 3 else 'I'}", *shifted)
            if len(value) > 4:
                value, place = b"", value
                at = extra_at + len(extra)
                extra += place
                value = struct.pack("<I", at)
            entries[tag] = struct.pack("<HHI", tag, form, len(numbers)) + value.ljust(4, b"\0")
        assert extra_at + len(extra) == data_at
        end = data_at + len(content)
        following = 0 if number == len(pages) - 1 else end + end % 2
        out += struct.pack("<H", count) + b"".join(entries[tag] for tag in sorted(entries))
        out += struct.pack("<I", following) + extra + content + bytes(end % 2)
    path.write_bytes(out)
    return path


def test_white_is_zero_is_turned_positive_in_images_and_refused_in_masks(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", [GREY], kind=0)
    np.testing.assert_array_equal(read_image(path, 2).array[0], 255 - GREY)
    with pytest.raises(DataError, match="shows 0 as white"):
        read_mask(tiff(tmp_path / "m.tif", [(GREY > 4).astype(np.uint8) * 255], kind=0), 1)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_tiff_of_one_bit_is_a_mask_as_it_looks(tmp_path: Path, kind: int) -> None:
    stored = GREY > 4
    white = stored if kind else ~stored
    np.testing.assert_array_equal(read_mask(tiff(tmp_path / "m.tif", [stored], bits=1, kind=kind), 1), white)


@pytest.mark.parametrize("way", range(2, 9))
def test_a_turned_tiff_is_refused(tmp_path: Path, way: int) -> None:
    with pytest.raises(DataError, match=f"orientation {way}"):
        read_image(tiff(tmp_path / "a.tif", [GREY], more={274: (3, (way,))}))


def test_colours_stored_by_plane_or_with_an_opaque_channel_are_three_channels(tmp_path: Path) -> None:
    wanted = np.moveaxis(RGB, -1, 0)
    planes = tiff(tmp_path / "p.tif", [wanted.copy()], kind=2, samples=3, more={284: (3, (2,))})
    np.testing.assert_array_equal(read_images([planes], 2, 3).array, wanted)
    opaque = np.concatenate([RGB, np.full((3, 4, 1), 255, np.uint8)], axis=-1)
    alpha = tiff(tmp_path / "a.tif", [opaque], kind=2, samples=4, more={338: (3, (2,))})
    np.testing.assert_array_equal(read_images([alpha], 2, 3).array, wanted)
    with pytest.raises(DataError, match="CMYK"):
        read_image(tiff(tmp_path / "c.tif", [opaque], kind=5, samples=4))


def ome(**attributes: object) -> str:
    said = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f'<?xml version="1.0"?><OME><Image><Pixels {said}><TiffData/></Pixels></Image></OME>'


PAGES: list[NDArray[np.generic]] = [GREY + 10 * number for number in range(6)]


@pytest.mark.parametrize(
    ("text", "first_of_channels"),
    [
        ("ImageJ=1.53c\nimages=6\nchannels=2\nslices=3\n", (0, 10)),
        (ome(DimensionOrder="XYCZT", SizeC=2, SizeZ=3, SizeT=1), (0, 10)),
        (ome(DimensionOrder="XYZCT", SizeC=2, SizeZ=3, SizeT=1), (0, 30)),
        ("ImageJ=1.53c\nimages=6\nslices=6\n", (0,)),
        ("", (0,)),
    ],
)
def test_pages_are_channels_or_slices_as_the_file_says(
    tmp_path: Path, text: str, first_of_channels: tuple[int, ...]
) -> None:
    array = read_image(tiff(tmp_path / "a.tif", PAGES, text=text), 3).array
    assert array.shape == (len(first_of_channels), 4, 3, 6 // len(first_of_channels))
    assert tuple(array[:, 0, 0, 0]) == first_of_channels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ImageJ=1.53c\nimages=6\nframes=6\n", "a film of 6 moments"),
        (ome(SizeC=1, SizeZ=1, SizeT=6), "a film of 6 moments"),
        ("ImageJ=1.53c\nimages=600\nslices=600\n", "says that it has 600 pages, and has 6"),
        ("ImageJ=1.53c\nimages=600\n", "says that it has 600 pages, and has 6"),
        (ome(SizeC=1, SizeZ=12, SizeT=1), "says that it has 12 pages, and has 6"),
    ],
)
def test_pages_that_are_moments_or_lie_elsewhere_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_image(tiff(tmp_path / "a.tif", PAGES, text=text), 3)


@pytest.mark.parametrize(("unit", "spacing"), [("mm", 0.5), ("µm", 5e-4), ("&#181;m", 5e-4), ("pixel", None)])
def test_the_unit_of_ome_counts_wherever_it_stands(tmp_path: Path, unit: str, spacing: float | None) -> None:
    text = ome(PhysicalSizeXUnit=unit, PhysicalSizeX=0.5, PhysicalSizeY=0.5, PhysicalSizeYUnit=unit)
    found = read_image(tiff(tmp_path / "a.tif", [GREY], text=text)).spacing
    assert found == (None if spacing is None else pytest.approx((spacing, spacing)))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(path: Path, rows: list[bytes], bits: int, kind: int, more: bytes = b"") -> Path:
    head = struct.pack(">IIBBBBB", 4, len(rows), bits, kind, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", head) + more + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_labels_of_few_bits_are_their_numbers(tmp_path: Path) -> None:
    wanted = [[0, 1, 2, 3]] * 2
    assert read_mask(png(tmp_path / "2.png", [b"\x1b"] * 2, 2, 0), 3).tolist() == wanted
    assert read_mask(png(tmp_path / "4.png", [b"\x01\x23"] * 2, 4, 0), 3).tolist() == wanted
    assert read_image(png(tmp_path / "i.png", [b"\x1b"] * 2, 2, 0)).array[0, 0].tolist() == [0, 85, 170, 255]


def test_deep_colours_follow_their_orientation_tag_as_others_do(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[274] = 6
    rows = [(row.astype(">u2") * 257).tobytes() for row in RGB]
    path = png(tmp_path / "a.png", rows, 16, 2, chunk(b"eXIf", tag.tobytes()[6:]))
    wanted = np.rot90(np.moveaxis(RGB, -1, 0), -1, axes=(1, 2)).astype(np.float32) * 257
    np.testing.assert_array_equal(read_image(path, 2).array, wanted)


@pytest.mark.parametrize(("name", "said"), [("WEBP", "WebP"), ("GIF", "GIF"), ("TIFF", "TIFF")])
def test_a_picture_under_another_name_is_told_what_it_is(tmp_path: Path, name: str, said: str) -> None:
    content = io.BytesIO()
    Image.fromarray(RGB).save(content, name)
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=f"is of the format {said}, whatever its name says"):
        read_image(tmp_path / "a.jpg")


NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: raw\n"
DIRECTIONS = "space directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (10,20,30)\n"
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 3 4 5\nElementType = MET_SHORT\n"
MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\n"


def nrrd(path: Path, more: str) -> Path:
    path.write_bytes((NRRD + more + "\n").encode() + VOLUME.tobytes())
    return path


def meta(path: Path, more: str) -> Path:
    path.write_bytes((META + more + "ElementDataFile = LOCAL\n").encode() + VOLUME.tobytes())
    return path


def test_a_header_that_does_not_say_where_it_lies_is_not_believed_to(tmp_path: Path) -> None:
    bare = [
        nrrd(tmp_path / "a.nrrd", "spacings: 1 1 2\n"),
        meta(tmp_path / "a.mha", "ElementSpacing = 1 1 2\n"),
    ]
    for path in bare:
        picture = read_image(path, 3)
        assert picture.affine is None
        assert picture.spacing == (1, 1, 2)
    said = [
        nrrd(tmp_path / "b.nrrd", "space: LPS\n" + DIRECTIONS),
        meta(tmp_path / "b.mha", MATRIX + "ElementSpacing = 1 1 2\n"),
    ]
    for path in said:
        np.testing.assert_allclose(read_image(path, 3).place[:, 3], (-12, -23, 30))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("space: scanner-xyz\n" + DIRECTIONS, "not in the patient's axes"),
        ("space dimension: 3\n" + DIRECTIONS, "not in the patient's axes"),
        ('space: LPS\nspace units: "um" "um" "um"\n' + DIRECTIONS, "not in mm"),
    ],
)
def test_an_nrrd_in_other_axes_or_units_is_refused(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_image(nrrd(tmp_path / "a.nrrd", more), 3)


def test_a_metaimage_in_other_units_or_scaled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not in mm"):
        read_image(meta(tmp_path / "a.mha", MATRIX + "DistanceUnits = um\n"), 3)
    with pytest.raises(DataError, match="scales its numbers"):
        read_image(meta(tmp_path / "b.mha", MATRIX + "ElementToIntensityFunctionSlope = 2\n"), 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.svs", "a whole slide"),
        ("a.MP4", "a film"),
        ("a.heic", "a picture of a format"),
        ("a.mgz", "a volume of a format"),
        ("a.npz", "an archive"),
        ("a.xyz", "of no known format"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(bytes(200))
    with pytest.raises(DataError, match=f"{name}: is {said}"):
        read_image(tmp_path / name)


def test_a_film_in_a_png_is_refused(tmp_path):
    frames = [Image.fromarray(np.full((6, 5), value, np.uint8)) for value in (10, 90, 200)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:], duration=40)
    with pytest.raises(DataError, match=r"is a film \(APNG\)"):
        read_image(tmp_path / "x.png")


def test_a_grey_value_that_is_transparent_is_refused_where_it_occurs(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png", transparency=5)
    with pytest.raises(DataError, match="transparent in places"):
        read_image(tmp_path / "x.png")
    Image.fromarray(GREY).save(tmp_path / "x.png", transparency=200)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").array[0], GREY)


@pytest.mark.parametrize(("bits", "hidden"), [(1, 1), (2, 2), (4, 9), (8, 200)])
def test_a_transparent_grey_of_few_bits_is_found_too(tmp_path, bits, hidden):
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    def png(grey: int) -> Path:
        row = sum(grey << (8 - bits * (place + 1)) for place in range(8 // bits))  # one byte of one grey
        (tmp_path / "x.png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 8 // bits, 1, bits, 0, 0, 0, 0))
            + chunk(b"tRNS", struct.pack(">H", hidden))
            + chunk(b"IDAT", zlib.compress(bytes([0, row])))
            + chunk(b"IEND", b"")
        )
        return tmp_path / "x.png"

    assert read_image(png(0)).array.max() == 0
    with pytest.raises(DataError, match="transparent in places"):
        read_image(png(hidden))


def test_labels_that_a_tiff_shows_in_colours_are_their_numbers(tmp_path):
    labels = GREY % 3
    picture = Image.frombytes("P", (4, 3), labels.tobytes())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "x.tif", 2), labels)
    picture.save(tmp_path / "x.tif", save_all=True, append_images=[picture])
    np.testing.assert_array_equal(read_mask(tmp_path / "x.tif", 2, 3), np.stack([labels.T] * 2, axis=-1))
    assert len(read_image(tmp_path / "x.tif").array) == 3  # an image is as it looks


def metaimage(path: Path, *, more: str = "", data: bytes = VOLUME.tobytes(), beside: str = "") -> Path:
    """Write a MetaImage; its numbers into a file beside it, where one is named."""
    text = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"ElementSpacing = 1 1 2\nDimSize = 3 4 5\nElementType = MET_SHORT\n{more}"
        f"ElementDataFile = {beside or 'LOCAL'}\n"
    )
    path.write_bytes(text.encode() + (b"" if beside else data))
    if beside:
        (path.parent / beside).write_bytes(data)
    return path


PACKED = zlib.compress(VOLUME.tobytes())


@pytest.mark.parametrize(
    ("more", "data", "beside"),
    [
        ("", VOLUME.tobytes(), ""),
        ("HeaderSize = -1\n", VOLUME.tobytes(), ""),
        ("HeaderSize = 9\n", b"\xff" * 9 + VOLUME.tobytes(), "x.raw"),
        ("HeaderSize = -1\n", b"\xff" * 9 + VOLUME.tobytes(), "x.raw"),
        (f"CompressedData = True\nCompressedDataSize = {len(PACKED)}\n", PACKED, ""),
        (f"CompressedData = True\nCompressedDataSize = {len(PACKED)}\n", PACKED, "x.zraw"),
    ],
)
def test_the_numbers_of_a_metaimage_begin_where_it_says(tmp_path, more, data, beside):
    found = read_image(metaimage(tmp_path / "x.mhd", more=more, data=data, beside=beside)).array
    np.testing.assert_array_equal(found[0], np.flip(VOLUME.transpose(2, 1, 0), (0, 1)))


def damaged(content: bytes) -> bytes:
    return content[: len(content) // 2] + b"\xff\xff\xff\xff" + content[len(content) // 2 + 4 :]


@pytest.mark.parametrize(
    ("more", "data", "beside", "said"),
    [
        ("HeaderSize = 10\n", VOLUME.tobytes(), "", "begin at byte 10, and its header ends"),
        ("", VOLUME.tobytes() + b"\1" * 8, "", "more than the 120 bytes"),
        ("", b"\1" * 8 + VOLUME.tobytes(), "x.raw", "more than the 120 bytes"),
        ("HeaderSize = 4\n", VOLUME.tobytes(), "x.raw", "less than the 120 bytes"),
        ("HeaderSize = a\n", VOLUME.tobytes(), "", "is not a number"),
        ("CompressedData = True\n", zlib.compress(VOLUME.tobytes()[:-8]), "", "less than the 120 bytes"),
        ("CompressedData = True\n", zlib.compress(VOLUME.tobytes() * 2), "", "more than the 120 bytes"),
        ("CompressedData = True\n", PACKED[:-2], "", "cut short"),
        ("CompressedData = True\n", damaged(PACKED), "", "damaged"),
    ],
)
def test_a_metaimage_with_more_or_fewer_numbers_than_it_says_is_refused(tmp_path, more, data, beside, said):
    more += f"CompressedDataSize = {len(data)}\n" if more.startswith("Compressed") else ""
    with pytest.raises(DataError, match=said):
        read_image(metaimage(tmp_path / "x.mhd", more=more, data=data, beside=beside))


def plain_nrrd(path: Path, more: str = "", data: bytes = VOLUME.tobytes()) -> Path:
    text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: raw\n" + more + "\n"
    path.write_bytes(text.encode() + data)
    return path


def test_an_nrrd_with_more_numbers_or_scaled_ones_is_refused(tmp_path):
    found = read_image(
        plain_nrrd(tmp_path / "x.nrrd", "byte skip: 4\n", b"\xff" * 4 + VOLUME.tobytes())
    ).array
    np.testing.assert_array_equal(found[0], np.flip(VOLUME.transpose(2, 1, 0), (0, 1)))
    with pytest.raises(DataError, match="more than the 120 bytes"):
        read_image(plain_nrrd(tmp_path / "x.nrrd", data=VOLUME.tobytes() + b"\1" * 24))
    with pytest.raises(DataError, match="scales its numbers"):
        read_image(plain_nrrd(tmp_path / "x.nrrd", "old min: 0\nold max: 1\n"))


def palette_png(path: Path, colours: int, numbers: NDArray[np.uint8], step: int) -> Path:
    picture = Image.fromarray(numbers)
    picture.putpalette([min(value * step, 255) for value in range(256) for _ in range(3)])
    picture.save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PLTE")
    length = int.from_bytes(content[at - 4 : at], "big")
    part = bytes(content[at : at + 4 + 3 * colours])
    short = struct.pack(">I", 3 * colours) + part + struct.pack(">I", zlib.crc32(part))
    path.write_bytes(bytes(content[: at - 4]) + short + bytes(content[at + 8 + length :]))
    return path


def test_a_colour_that_the_palette_has_not_is_refused(tmp_path: Path) -> None:
    whole = palette_png(tmp_path / "whole.png", 12, GREY, 20)
    assert (read_image(whole).array == 20 * GREY).all()
    short = palette_png(tmp_path / "short.png", 8, GREY, 20)
    for read in (read_image, lambda path: read_mask(path, 12)):
        with pytest.raises(DataError, match="pixels of colour 11, and its palette has 8 colours"):
            read(short)


def test_a_tile_that_reaches_far_beyond_its_picture_is_not_unpacked(tmp_path: Path) -> None:
    """One of 560 kB took 645 MB, for a picture of 8 x 8."""
    usual = tiff(tmp_path / "a.tif", [GREY], more={322: (3, (256,)), 323: (3, (256,))})
    assert require_pages(usual)[1] == 1
    crafted = tiff(tmp_path / "b.tif", [GREY], more={322: (3, (4112,)), 323: (3, (4112,))})
    with pytest.raises(DataError, match="has pieces of 16908544 bytes for a whole of 12"):
        read_image(crafted, 2)
