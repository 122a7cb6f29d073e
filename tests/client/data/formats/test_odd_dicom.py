"""DICOM that means something else than it seems to: read right, or refused with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sequence import Sequence

from client.data.images.readers import read_image, read_raw_mask
from shared.errors import DataError
from tests.client.data.formats.dicom_files import item, written

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
PIXELS = np.arange(64, dtype=np.int16).reshape(8, 8)
FRAMES = np.stack([PIXELS + 100 * number for number in range(4)])


def slice_at(path: Path, height: float, value: int = 0, **tags: Any) -> Path:
    place = {"ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    return written(path, PIXELS + np.int16(value), PixelSpacing=[1, 1], **place, **tags)


def enhanced(path: Path, pixels: NDArray[Any], slopes: tuple[float, ...] = (1, 1, 1, 1), **tags: Any) -> Path:
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[1, 1], SliceThickness=3)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
    )
    frames = [
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, 3 * number])]),
            PixelValueTransformationSequence=Sequence(
                [item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="HU")]
            ),
        )
        for number, slope in enumerate(slopes)
    ]
    groups = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
        "NumberOfFrames": len(frames),
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    }
    return written(path, pixels, kind=ENHANCED_CT, **groups, **tags)


def with_element(path: Path, tag: int, kind: str, value: object) -> Path:
    file = pydicom.dcmread(path)
    file.add_new(tag, kind, value)
    file.save_as(path)
    return path


def test_frames_keep_nothing_above_their_stored_bits(tmp_path: Path) -> None:
    plain = read_image(enhanced(tmp_path / "a.dcm", FRAMES.astype(np.uint16), BitsStored=12), 3)
    overlaid = enhanced(tmp_path / "b.dcm", FRAMES.astype(np.uint16) | 0x1000, BitsStored=12)
    np.testing.assert_array_equal(read_image(overlaid, 3).array, plain.array)
    signed = enhanced(tmp_path / "c.dcm", (FRAMES - np.int16(200)) & np.int16(0xFFF), BitsStored=12)
    np.testing.assert_array_equal(read_image(signed, 3).array, plain.array - 200)


def test_frames_have_padding_too(tmp_path: Path) -> None:
    padded = FRAMES.copy()
    padded[:, 0] = -2000
    path = with_element(enhanced(tmp_path / "a.dcm", padded), 0x00280120, "SS", -2000)
    picture = read_image(path, 3)
    assert picture.background is not None
    np.testing.assert_array_equal(picture.background, picture.array[0] == -2000)
    assert picture.background.sum() == 4 * 8


def test_a_frame_s_slope_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="slope of 0"):
        read_image(enhanced(tmp_path / "a.dcm", FRAMES, slopes=(1, 1, 0, 1)), 3)
    with pytest.raises(DataError, match="highest of its 12 bits"):
        read_image(enhanced(tmp_path / "b.dcm", FRAMES, BitsStored=12, HighBit=15), 3)


def test_padding_written_as_an_unsigned_number_is_padding(tmp_path: Path) -> None:
    padded = PIXELS.copy()
    padded[0] = -2000
    for kind, value in (("SS", -2000), ("US", 63536)):
        path = with_element(written(tmp_path / f"{kind}.dcm", padded), 0x00280120, kind, value)
        background = read_image(path, 2).background
        assert background is not None
        assert background.sum() == 8


@pytest.mark.parametrize("times", [1, 50])
def test_an_element_that_stands_there_twice_is_refused(tmp_path: Path, times: int) -> None:
    path = written(tmp_path / "a.dcm", PIXELS, RescaleSlope="1", RescaleIntercept="0")
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x52\x10DS")
    element = content[at : at + 10]
    path.write_bytes(content[: at + 10] + (element[:8] + b"7 ") * times + content[at + 10 :])
    with pytest.raises(DataError, match=rf"\(0028,1052\) {times + 1} times"):
        read_image(path, 2)


def cut_short(folder: Path) -> None:
    for number in range(5):
        slice_at(folder / f"{number}.dcm", 3 * number)
    (folder / "4.dcm").write_bytes((folder / "4.dcm").read_bytes()[:-40])


def copied(folder: Path) -> None:
    for number in range(4):
        path = slice_at(folder / f"{number}.dcm", 3 * number)
        (folder / f"copy{number}.dcm").write_bytes(path.read_bytes())


def echoes_mixed(folder: Path) -> None:
    for number, echo in enumerate((2, 4, 2, 4, 2, 2, 4, 4)):
        slice_at(folder / f"{number}.dcm", 3 * (number // 2), number, EchoTime=echo)


def two_frames_of_reference(folder: Path) -> None:
    for number in range(4):
        slice_at(folder / f"{number}.dcm", 3 * number, FrameOfReferenceUID=f"1.2.{number // 2}")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (cut_short, r"4\.dcm: was cut short"),
        (copied, r"one image twice: 0\.dcm and copy0\.dcm"),
        (echoes_mixed, "not of the same EchoTime at each"),
        (two_frames_of_reference, "2 frames of reference"),
    ],
)
def test_a_folder_that_would_become_another_volume_is_refused(
    tmp_path: Path, write: Callable[[Path], None], said: str
) -> None:
    write(tmp_path / "s")
    with pytest.raises(DataError, match=said):
        read_image(tmp_path / "s", 3)


def test_magnitude_and_phase_are_a_channel_each_whatever_their_numbers(tmp_path: Path) -> None:
    for place in range(4):
        for number, what in enumerate("MP" if place % 2 else "PM"):
            kind = ["ORIGINAL", "PRIMARY", what]
            slice_at(
                tmp_path / "s" / f"{place}{number}.dcm",
                3 * place,
                1000 * (what == "P"),
                ImageType=kind,
                InstanceNumber=2 * place + number,
            )
    channels = read_image(tmp_path / "s", 3).array
    assert channels[0].max() < 1000 <= channels[1].min()


def test_a_folder_inside_a_series_is_said(tmp_path: Path) -> None:
    for number in range(4):
        slice_at(tmp_path / "s" / f"{number}.dcm", 3 * number)
    slice_at(tmp_path / "s" / "more" / "4.dcm", 12)
    assert any("the folder more in it was not read" in note for note in read_image(tmp_path / "s", 3).notes)


def test_doses_and_parametric_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="RTDOSE"):
        read_image(written(tmp_path / "d.dcm", FRAMES, NumberOfFrames=4, DoseGridScaling="0.01"))
    path = written(tmp_path / "f.dcm", PIXELS)
    file = pydicom.dcmread(path)
    del file.PixelData
    file.add_new(0x7FE00008, "OF", bytes(256))
    file.save_as(path)
    with pytest.raises(DataError, match="parametric map"):
        read_image(path)


@pytest.mark.parametrize(
    ("one", "others", "said"),
    [
        ({"Modality": "PT", "Units": "CNTS"}, {"Modality": "PT", "Units": "BQML"}, "units: BQML"),
        ({"Modality": "PT"}, {"Modality": "PT", "Units": "BQML"}, "units: none"),
        ({"Modality": "PT"}, {}, "modalities: CT"),
        ({"RescaleType": "US"}, {"RescaleType": "HU"}, "types of rescaled values"),
        ({}, {"RescaleSlope": 1, "RescaleIntercept": -1024}, "stored values"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, {}, "kinds of pixels"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {}, "roles: LOCALIZER"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, {}, "roles: MIP"),
    ],
)
def test_slices_whose_numbers_mean_other_things_are_not_a_volume(tmp_path, one, others, said):
    for number in range(4):
        slice_at(tmp_path / f"{number}.dcm", 3 * number, **(one if number == 2 else others))
    with pytest.raises(DataError, match=said):
        read_image(tmp_path)


def test_a_slope_for_each_slice_of_one_unit_is_followed(tmp_path):
    for number in range(4):
        slice_at(
            tmp_path / f"{number}.dcm", 3 * number, RescaleSlope=1 + number, RescaleIntercept=0, Units="BQML"
        )
    np.testing.assert_array_equal(read_image(tmp_path).array.max(axis=(0, 1, 2)), [63, 126, 189, 252])


@pytest.mark.parametrize("tag", ["ConvolutionKernel", "KVP"])
def test_two_images_of_a_position_are_channels_by_what_tells_them_apart(tmp_path, tag):
    for number in range(8):
        position = number // 2
        told = {tag: ("140", "80")[(number + position) % 2], "InstanceNumber": number}
        slice_at(tmp_path / f"{number}.dcm", 3 * position, 100 * ((number + position) % 2), **told)
    low, high = read_image(tmp_path).array
    assert {float(low.max()), float(high.max())} == {63, 163}
    assert (low.max(axis=(0, 1)) == low.max()).all()
    slice_at(tmp_path / "0.dcm", 0, 100, **{tag: "80", "InstanceNumber": 0})
    with pytest.raises(DataError, match=f"not of the same {tag}"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("tag", "values"), [("EchoTime", (10.0, 80.0)), ("ConvolutionKernel", ("B30f", "B70f"))]
)
def test_slices_of_two_contrasts_are_no_volume_though_each_has_a_place_of_its_own(tmp_path, tag, values):
    for number in range(4):
        slice_at(tmp_path / f"{number}.dcm", 3 * number, 0, **{tag: values[number // 2]})
    with pytest.raises(DataError, match=f"several {tag}"):
        read_image(tmp_path)


def test_frames_of_several_units_or_more_than_the_header_says_are_refused(tmp_path):
    path = enhanced(tmp_path / "x.dcm", FRAMES)
    file = pydicom.dcmread(path)
    group = file.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence[0]
    group.RescaleType = "US"
    file.save_as(path)
    with pytest.raises(DataError, match="several types: HU, US"):
        read_image(path)
    group.RescaleType, file.PixelData = "HU", file.PixelData + PIXELS.tobytes()
    file.save_as(path)
    with pytest.raises(DataError, match="more pixels than its header says"):
        read_image(path)


def test_frames_without_number_are_refused_before_memory_is_taken(tmp_path):
    path = enhanced(tmp_path / "x.dcm", FRAMES)
    file = pydicom.dcmread(path)
    file.NumberOfFrames = 99999999999
    del file.PixelData
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    file.save_as(path)
    with pytest.raises(DataError, match="too many for a file"):
        read_raw_mask(path)


@pytest.mark.parametrize(
    ("kind", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")], ids=["2", "1"]
)
def test_a_picture_that_is_a_negative_and_is_not_is_refused(tmp_path: Path, kind: str, shape: str) -> None:
    fits = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}[kind]
    said = {"PhotometricInterpretation": kind}
    plain = read_image(written(tmp_path / "plain.dcm", PIXELS, **said)).array
    read = read_image(written(tmp_path / "fits.dcm", PIXELS, PresentationLUTShape=fits, **said)).array
    assert (read == plain).all()
    with pytest.raises(DataError, match="contradict each other"):
        read_image(written(tmp_path / "other.dcm", PIXELS, PresentationLUTShape=shape, **said))
    frames = enhanced(tmp_path / "frames.dcm", FRAMES, PresentationLUTShape=shape, **said)
    with pytest.raises(DataError, match="contradict each other"):
        read_image(frames, 3)
