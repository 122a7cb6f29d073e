"""DICOM as scanners and archives leave it: values, stacks, many frames, segmentations and structure sets."""

import contextlib
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from client.data.formats.dicom.structures import polygon
from client.data.images.intensity import intensity
from client.data.images.readers import Layout, read_files, read_image, read_raw_mask
from shared.errors import DataError
from shared.job.data_options import DataTable

SIDE, SLICES = 8, 5


def write_slice(path: Path, pixels: NDArray[np.generic], **tags: object) -> Path:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    item.PatientID, item.StudyInstanceUID, item.SeriesInstanceUID, item.Modality = "p", "1.2", "1.2.3", "CT"
    item.FrameOfReferenceUID, item.PatientName, item.StudyID, item.AccessionNumber = "1.2.4", "p", "", ""
    for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(item, name, "")
    item.Rows, item.Columns = pixels.shape[-2:]
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    item.ImageOrientationPatient, item.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    item.PixelSpacing, item.SliceThickness = [1, 1], 2
    item.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(item, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    return path


def volume() -> NDArray[np.int16]:
    return np.arange(SLICES * SIDE * SIDE, dtype=np.int16).reshape(SLICES, SIDE, SIDE)


def write_series(folder: Path, origins: NDArray[np.float64], orientation: object, **tags: object) -> Path:
    for number, (pixels, origin) in enumerate(zip(volume(), origins, strict=True)):
        place = {"ImagePositionPatient": [f"{x:.6g}" for x in origin], "ImageOrientationPatient": orientation}
        write_slice(folder / f"{number * 7 % 5}.dcm", pixels, InstanceNumber=number, **place, **tags)
    return folder


def along(step: tuple[float, float, float]) -> NDArray[np.float64]:
    return np.array([-10.0, 20.0, 5.0]) + np.arange(SLICES)[:, None] * np.array(step)


UPRIGHT = [1, 0, 0, 0, 1, 0]


@given(
    angles=st.tuples(*[st.floats(-0.7, 0.7)] * 3),
    spacing=st.floats(0.5, 5),
    order=st.permutations(range(SLICES)),
)
def test_every_pixel_lies_where_its_own_header_puts_it(tmp_path_factory, angles, spacing, order):
    rows, columns, normal = euler2mat(*angles).T
    origins = np.array([3.0, -40.0, 7.0]) + np.arange(SLICES)[:, None] * normal * spacing
    folder = tmp_path_factory.mktemp("s")
    for place, number in enumerate(order):
        position = [f"{x:.7g}" for x in origins[number]]
        direction = [f"{x:.8g}" for x in (*rows, *columns)]
        write_slice(
            folder / f"{place}.dcm",
            volume()[number],
            ImagePositionPatient=position,
            ImageOrientationPatient=direction,
        )
    picture = read_image(folder, 3)
    square = np.vstack([np.asarray(picture.affine), [0, 0, 0, 1]])
    for number, row, column in ((0, 0, 0), (4, 7, 7), (2, 3, 5)):
        lps = origins[number] + column * rows + row * columns
        index = np.linalg.inv(square) @ np.append(lps * (-1, -1, 1), 1)
        nearest = np.rint(index[:3]).astype(int)
        assert np.abs(index[:3] - nearest).max() < 0.01
        assert picture.array[0][tuple(nearest)] == volume()[number, row, column]


def test_a_tilted_gantry_is_straightened_and_said(tmp_path):
    flat = np.full((SIDE, SIDE), 100, np.int16)
    tilt = np.radians(20)
    columns = np.array([0, np.cos(tilt), np.sin(tilt)])
    normal = np.cross([1, 0, 0], columns)
    for number in range(SLICES):
        origin = np.array([0, 0, 4.0 * number])
        pixels = flat.copy()
        # a rod along the slices' normal: at another row of each slice
        row = round(float((normal * 4.0 * number * normal[2] - origin + 4 * columns) @ columns))
        pixels[row % SIDE, 3] = 900
        place = {"ImagePositionPatient": [f"{x:.6f}" for x in origin]}
        write_slice(
            tmp_path / "s" / f"{number}.dcm",
            pixels,
            ImageOrientationPatient=[1, 0, 0, *columns.tolist()],
            **place,
        )
    picture = read_image(tmp_path / "s", 3)
    assert any("tilted by 20.0 degrees" in note for note in picture.notes)
    assert picture.spacing is not None
    assert picture.spacing[2] == pytest.approx(4 * np.cos(tilt))
    assert picture.background is not None
    inside = picture.array[0][~picture.background]
    assert inside.min() >= 99


@pytest.mark.parametrize(
    ("origins", "said"),
    [
        (along((0, 0, 3))[[0, 1, 2, 3, 3]] + np.array([[0, 0, 0]] * 4 + [[0, 0, 6.0]]), "lacks 1 slice"),
        (along((0, 0, 3)) + np.array([[0, 0, 0]] * 2 + [[40.0, 0, 0]] + [[0, 0, 0]] * 2), "40.0 mm aside"),
        (along((0, 0, 3)) + np.array([[0, 0, 0]] * 4 + [[0, 0, 1.4]]), "unevenly apart"),
        (along((0, 0, 3))[[0, 1, 2, 3, 3]], "between 1 and 2 images of one position"),
    ],
)
def test_a_stack_that_is_no_volume_says_why(tmp_path, origins, said):
    with pytest.raises(DataError, match=said):
        read_image(write_series(tmp_path / "s", origins, UPRIGHT), 3)


def test_every_file_of_a_folder_is_accounted_for(tmp_path):
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT)
    (folder / "notes.txt").write_text("not an image")
    assert "not DICOM images: 1 of its files (notes.txt)" in read_image(folder, 3).notes[0]
    write_slice(folder / "scout.dcm", volume()[0], SeriesInstanceUID="9.9", SeriesDescription="Scout")
    with pytest.raises(DataError, match=r"2 series: .*'Scout' \(1 file\)"):
        read_image(folder, 3)


def test_a_slice_without_a_preamble_is_read_too(tmp_path):
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT)
    file = folder / "4.dcm"
    file.write_bytes(file.read_bytes()[132:])
    assert read_image(folder, 3).shape == (SIDE, SIDE, SLICES)


def test_time_points_become_channels_in_their_order(tmp_path):
    for moment in range(3):
        for number in range(SLICES):
            write_slice(
                tmp_path / "s" / f"{(moment * 5 + number) * 7 % 15}.dcm",
                np.full((SIDE, SIDE), moment * 100 + number, np.int16),
                ImagePositionPatient=[0, 0, 3 * number],
                AcquisitionNumber=moment + 1,
                InstanceNumber=moment * SLICES + number,
            )
    picture = read_image(tmp_path / "s", 3)
    assert picture.array[:, 0, 0, 2].tolist() == [2, 102, 202]
    assert "3 images of each position" in picture.notes[0]


def lut(first: int, data: NDArray[np.uint16]) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(data), first, 16]
    item["LUTDescriptor"].VR = "US"
    item.LUTData, item.ModalityLUTType = data.tobytes(), "US"
    item["LUTData"].VR = "OW"
    return item


@pytest.mark.parametrize("kind", ["slope", "table"])
def test_a_negative_is_one_of_the_values_not_of_what_is_stored(tmp_path, kind):
    stored = (np.arange(64).reshape(8, 8) * 16).astype(np.uint16)
    table = (np.arange(1024) * 3 + 7).astype(np.uint16)
    tags = (
        {"RescaleSlope": 3, "RescaleIntercept": 7}
        if kind == "slope"
        else {"ModalityLUTSequence": Sequence([lut(0, table)])}
    )
    common = {"BitsStored": 10, "HighBit": 9, **tags}
    plain = read_image(write_slice(tmp_path / "2.dcm", stored, **common)).array
    negative = read_image(
        write_slice(tmp_path / "1.dcm", stored, PhotometricInterpretation="MONOCHROME1", **common)
    ).array
    np.testing.assert_array_equal(plain, 3.0 * stored[None] + 7)
    np.testing.assert_array_equal(plain + negative, np.full((1, 8, 8), 7 + 1023 * 3 + 7.0))


def test_a_slope_of_nothing_is_refused_and_an_empty_one_is_one(tmp_path):
    with pytest.raises(DataError, match="rescale slope of 0"):
        read_image(write_slice(tmp_path / "0.dcm", volume()[0], RescaleSlope=0, RescaleIntercept=5))
    path = write_slice(tmp_path / "e.dcm", volume()[0], RescaleSlope=None, RescaleIntercept=5)
    np.testing.assert_array_equal(read_image(path).array[0], volume()[0] + 5.0)


def test_overlays_above_the_stored_bits_are_no_values(tmp_path):
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    path = write_slice(tmp_path / "o.dcm", stored | 0x1000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_image(path).array[0], stored)


@pytest.mark.parametrize("way", ["zscore", "minmax", "percentile"])
def test_padding_counts_in_no_statistic(tmp_path, way):
    tissue = np.random.default_rng(0).normal(1000, 30, (SIDE, SIDE)).astype(np.int16)
    padded = tissue.copy()
    padded[:4] = -2000
    data = DataTable(size=[SIDE, SIDE], intensity=way)
    picture = read_image(write_slice(tmp_path / "p.dcm", padded, PixelPaddingValue=-2000))
    assert picture.background is not None
    assert picture.background.sum() == 32
    both = intensity(picture.array, data, ~picture.background)
    alone = intensity(tissue[4:][None].astype(np.float32), data)
    np.testing.assert_allclose(both[:, 4:], alone, atol=1e-6)
    assert (both[:, :4] == alone.min()).all()


def test_pydicom_s_own_files_are_read_or_refused_in_words():
    folder = Path(pydicom.data.__file__).parent / "test_files"
    read = 0
    for path in sorted(folder.glob("*.dcm")):
        with contextlib.suppress(DataError):  # anything else is a fault
            assert np.isfinite(read_image(path).array).all(), path.name
            read += 1
    assert read >= 40


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
    ],
)
def test_packed_pixels_are_what_was_packed(packed, plain):
    folder = Path(pydicom.data.__file__).parent / "test_files"
    one, other = (read_image(folder / name).array for name in (packed, plain))
    np.testing.assert_array_equal(one, other)


def test_lossless_jpeg_keeps_its_colours():
    path = Path(pydicom.data.__file__).parent / "test_files" / "SC_rgb_jpeg_gdcm.dcm"
    assert read_image(path).array[:, 5, 50].tolist() == [255, 0, 0]


def test_an_enhanced_object_is_a_volume_in_the_order_of_space(tmp_path):
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT, RescaleSlope=2, RescaleIntercept=-10)
    path = tmp_path / "enhanced.dcm"
    enhanced(sorted(folder.glob("*.dcm")), path)
    one, other = read_image(folder, 3), read_image(path, 3)
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(np.asarray(one.affine), np.asarray(other.affine), atol=1e-6)


def enhanced(files: list[Path], path: Path) -> None:
    """Write an enhanced CT with the frames of single files, and a rescaling of each frame's own."""
    slices = [pydicom.dcmread(file) for file in files]
    item = pydicom.dcmread(files[0])
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "RescaleSlope",
        "RescaleIntercept",
    ):
        delattr(item, name)
    item.NumberOfFrames = len(slices)
    item.PixelData = b"".join(one.PixelData for one in slices)
    groups = []
    for one in slices:
        group, position, orientation, measures, values, content = (Dataset() for _ in range(6))
        position.ImagePositionPatient = one.ImagePositionPatient
        orientation.ImageOrientationPatient = one.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -10, "HU"
        content.DimensionIndexValues = [1]
        group.PlanePositionSequence, group.PlaneOrientationSequence = (
            Sequence([position]),
            Sequence([orientation]),
        )
        group.PixelMeasuresSequence = Sequence([measures])
        group.PixelValueTransformationSequence, group.FrameContentSequence = (
            Sequence([values]),
            Sequence([content]),
        )
        groups.append(group)
    item.PerFrameFunctionalGroupsSequence = Sequence(groups)
    item.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    pydicom.dcmwrite(path, item, enforce_file_format=True)


def test_a_cine_is_refused_by_name(tmp_path):
    frames = np.zeros((3, SIDE, SIDE), np.int16)
    with pytest.raises(DataError, match="multi-frame DICOM of 3 frames"):
        read_image(write_slice(tmp_path / "c.dcm", frames, NumberOfFrames=3))


def segmentation(files: list[Path], masks: NDArray[np.uint8], path: Path) -> Path:
    """Write a SEG of two segments; empty frames are left out, as most writers do."""
    sources = [pydicom.dcmread(file) for file in files]
    described = [
        highdicom.seg.SegmentDescription(
            number, label, codes.SCT.Tissue, codes.SCT.Tissue, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, label in ((1, "edema"), (2, "core"))
    ]
    seg = highdicom.seg.Segmentation(
        sources,
        masks,
        "BINARY",
        described,
        generate_uid(),
        1,
        generate_uid(),
        1,
        "us",
        "model",
        "1",
        "serial",
    )
    seg.save_as(path)
    return path


def test_a_segmentation_lies_on_its_image(tmp_path):
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT)
    files = sorted(folder.glob("*.dcm"), key=lambda file: pydicom.dcmread(file).InstanceNumber)
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    labels[1, 2:4, 3:6], labels[2, 5, 5] = 1, 2
    path = segmentation(files, labels, tmp_path / "seg.dcm")
    image, mask = read_files([folder], path, Layout(3))
    assert mask is not None
    assert mask.shape == image.shape
    for label in (1, 2):
        expected = sorted(volume()[labels == label].tolist())
        assert sorted(image.array[0][mask.array[0] == label].tolist()) == expected
    assert "1 is 'edema', 2 is 'core'" in " ".join(mask.notes)
    swapped = Layout(3, classes=("Core", "oedema"))
    with pytest.raises(DataError, match="segment 2 'core', which is class 1 of the job"):
        read_files([folder], path, swapped)
    assert read_files([folder], path, replace(swapped, mapped=True))[1] is not None
    parts = []  # a file for each class: which it is, its place says
    for number, inside in enumerate((labels == 2, labels == 1)):
        parts.append(segmentation(files, inside.astype(np.uint8), tmp_path / f"{number}.dcm"))
    _, both = read_files([folder], tuple(parts), swapped)
    assert both is not None
    assert np.unique(both.array).tolist() == [0, 1, 2]


def structure_set(
    path: Path, contours: dict[str, list[list[tuple[float, float, float]]]], kind: str = "CLOSED_PLANAR"
) -> Path:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    rois, drawn = [], []
    for number, (name, lines) in enumerate(contours.items(), start=1):
        roi, shape = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, shape.ReferencedROINumber = number, name, number
        parts = []
        for line in lines:
            part = Dataset()
            part.ContourGeometricType, part.ContourData = (
                kind,
                [x for point in line for x in point],
            )
            parts.append(part)
        shape.ContourSequence = Sequence(parts)
        rois.append(roi)
        drawn.append(shape)
    item.StructureSetROISequence, item.ROIContourSequence = Sequence(rois), Sequence(drawn)
    pydicom.dcmwrite(path, item, enforce_file_format=True)
    return path


def box(low: float, high: float, z: float) -> list[tuple[float, float, float]]:
    """Return a square contour in patient coordinates (LPS) around the pixels low + 1 to high."""
    x, y = (-10 + low + 0.5, -10 + high + 0.5), (20 + low + 0.5, 20 + high + 0.5)
    return [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]


def test_contours_are_filled_where_they_were_drawn_holes_left_out(tmp_path):
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT)
    path = structure_set(
        tmp_path / "rt.dcm", {"Tumour": [box(0, 5, 8), box(1, 2, 8)], "Body": [box(0, 7, 8)]}
    )
    image, mask = read_files([folder], path, Layout(3, classes=("tumour",)))
    assert mask is not None
    expected = np.zeros((SLICES, SIDE, SIDE), bool)
    expected[1, 1:6, 1:6], expected[1, 2, 2] = True, False
    found = sorted(image.array[0][mask.array[0] == 1].tolist())
    assert found == sorted(volume()[expected].tolist())
    _, mask = read_files([folder], path, Layout(3, classes=("tumour", "liver")))
    assert mask is not None
    assert mask.notes == ("a structure set has no 'liver': nothing of it is in the mask",)
    with pytest.raises(DataError, match="its structures: 'Tumour', 'Body'"):
        read_files([folder], path, Layout(3, classes=("liver",)))
    with pytest.raises(DataError, match="structure set"):
        read_raw_mask(path, 3)


def test_contours_of_finer_or_coarser_slices_are_refused_or_told_of(tmp_path):
    """Two planes in one slice would cancel each other; between every second slice nothing is drawn."""
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT)
    classes = Layout(3, classes=("tumour",))
    finer = structure_set(tmp_path / "finer.dcm", {"tumour": [box(0, 5, 7.5), box(0, 5, 8.5)]})
    with pytest.raises(DataError, match="nearer to each other than the slices"):
        read_files([folder], finer, classes)
    opened = structure_set(tmp_path / "open.dcm", {"tumour": [box(0, 5, 8)]}, "OPEN_PLANAR")
    with pytest.raises(DataError, match="an open contour of 'tumour'"):
        read_files([folder], opened, classes)
    for depths, notes in (((5, 11, 17), ("'tumour' is drawn in every few slices only",)), ((5, 8, 17), ())):
        path = structure_set(tmp_path / "rt.dcm", {"tumour": [box(0, 5, z) for z in depths]})
        _, mask = read_files([folder], path, classes)
        assert mask is not None
        assert len(mask.notes) == len(notes)
        assert all(note.startswith(said) for note, said in zip(mask.notes, notes, strict=True))


def test_what_counts_from_another_frame_of_reference_lies_nowhere(tmp_path):
    folder = write_series(tmp_path / "s", along((0, 0, 3)), UPRIGHT)
    other = write_series(tmp_path / "o", along((0, 0, 3)), UPRIGHT, FrameOfReferenceUID="1.2.9")
    with pytest.raises(DataError, match="another frame of reference than"):
        read_files([folder, other], None, Layout(3, 2))
    assert read_files([folder, other], None, Layout(3, 2, geometry="array"))[0].array.shape[0] == 2
    path = structure_set(tmp_path / "rt.dcm", {"Tumour": [box(0, 5, 8)]})
    drawn = pydicom.dcmread(path)
    drawn.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.9"
    drawn.save_as(path)
    with pytest.raises(DataError, match="another frame of reference than its image"):
        read_files([folder], path, Layout(3, classes=("tumour",)))


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=3, max_size=8))
def test_a_polygon_holds_the_centres_inside_of_it(corners):
    points = np.array(corners)
    inside = polygon(points, (10, 10))
    for row, column in ((0, 0), (3, 4), (7, 2), (9, 9)):
        crossings = 0
        for (y0, x0), (y1, x1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if (y0 <= row) != (y1 <= row):
                crossings += x0 + (row - y0) / (y1 - y0) * (x1 - x0) <= column
        assert inside[row, column] == (crossings % 2 == 1)
