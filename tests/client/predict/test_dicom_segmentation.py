"""Masks as DICOM SEG: on the grid of their image, read back by the house's own reader, valid."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from client.data.images.readers import read_image, read_raw_mask
from client.predict.dicom.codes import coded, codes_of
from client.predict.dicom.grid import FileGrid
from client.predict.dicom.maker import RESEARCH, Maker
from client.predict.dicom.part10 import content
from client.predict.dicom.segmentation import segmentation
from client.predict.dicom.source import dicom_source
from shared.errors import DataError, JobError
from tests.dicom_files import UPRIGHT, faults, write_ct
from tests.jobs import make_job

MAKER = Maker("brain", "ab" * 32)
CLASSES = {name: coded(name) for name in ("tumour", "a thing without any code")}
TILTED = (0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def image(folder: Path, orientation: tuple[float, ...] = UPRIGHT) -> Path:
    x, y, z = np.meshgrid(np.arange(6), np.arange(9), np.arange(7), indexing="ij")
    write_ct(folder, 40 * x + 7 * y + z * z, orientation=orientation)
    return folder


def by_brightness(array: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.digitize(array, [np.median(array), np.percentile(array, 80)]).astype(np.uint8)


def grid_of(path: Path, axes: int = 3) -> FileGrid:
    return FileGrid.of(read_image(path, axes), dicom_source(path))


def written(mask: NDArray[np.generic], folder: Path, out: Path, axes: int = 3) -> Path:
    found = segmentation(mask, grid_of(folder, axes), CLASSES, MAKER)
    out.write_bytes(content(found))
    return out


@pytest.mark.parametrize("orientation", [UPRIGHT, TILTED, (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)])
def test_a_segmentation_lies_on_its_series(tmp_path, orientation) -> None:
    """The class of a voxel is how bright it is: one that is turned or moved would show."""
    folder = image(tmp_path / "ct", orientation)
    picture = read_image(folder, 3)
    mask = by_brightness(picture.array[0])
    mask[:, :, -1] = 0  # a plane without any has its frame, too
    seg = written(mask, folder, tmp_path / "seg.dcm")
    back = read_raw_mask(seg, 3)
    np.testing.assert_array_equal(back.array[0], mask)
    np.testing.assert_allclose(back.affine, picture.affine, atol=1e-4)
    assert faults(seg) == []


def test_it_says_of_what_by_whom_and_for_what(tmp_path) -> None:
    folder = image(tmp_path / "ct")
    mask = by_brightness(read_image(folder, 3).array[0])
    said = pydicom.dcmread(written(mask, folder, tmp_path / "seg.dcm"))
    source = dicom_source(folder)
    assert (said.PatientID, said.StudyInstanceUID) == ("p1", source.first.StudyInstanceUID)
    assert said.FrameOfReferenceUID == source.first.FrameOfReferenceUID
    [series] = said.ReferencedSeriesSequence
    assert sorted(one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence) == source.uids
    assert all("DerivationImageSequence" in frame for frame in said.PerFrameFunctionalGroupsSequence)
    tumour, other = said.SegmentSequence
    assert tumour.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"  # SNOMED CT: neoplasm
    assert other.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99WARDROUND"
    assert other.SegmentLabel == "a thing without any code"
    [algorithm] = tumour.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("brain", MAKER.digest[:16])
    assert said.SeriesDescription.startswith(RESEARCH)
    assert said.ContentDescription == RESEARCH


def test_the_same_model_and_image_give_the_same_name_and_another_mask_another(tmp_path) -> None:
    """An archive that is sent one twice keeps one."""
    folder = image(tmp_path / "ct")
    mask = by_brightness(read_image(folder, 3).array[0])
    names = [
        pydicom.dcmread(written(own, folder, tmp_path / f"{number}.dcm")).SOPInstanceUID
        for number, own in enumerate((mask, mask.copy(), np.where(mask == 2, 1, mask).astype(np.uint8)))
    ]
    assert names[0] == names[1] != names[2]


def test_one_slice_and_instances(tmp_path) -> None:
    [file] = write_ct(tmp_path, np.arange(63).reshape(1, 9, 7))
    numbers = np.zeros((9, 7), np.int32)
    numbers[2:4, 1:5], numbers[6:, 3:] = 3, 300
    one = {"cell": coded("cell")}
    found = segmentation(numbers, grid_of(file, 2), one, MAKER)
    (tmp_path / "seg.dcm").write_bytes(content(found))
    back = read_raw_mask(tmp_path / "seg.dcm", 2)
    assert set(np.unique(back.array)) == {0, 3, 300}
    np.testing.assert_array_equal(back.array[0], numbers)


def test_what_is_not_dicom_is_refused_with_what_to_do(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match="is not a DICOM image") as refused:
        dicom_source(tmp_path / "a.png")
    assert "--as" in str(refused.value)


def test_a_job_says_what_its_classes_are() -> None:
    given = {"spot": ["SCT", "108369006", "Neoplasm"], "rim": ["SCT", "1", "Rim", "tissue"]}
    found = codes_of(("spot", "rim", "liver"), given)
    assert found["spot"] == coded("tumour")
    assert (found["rim"].type.meaning, found["rim"].category.meaning) == ("Rim", "Tissue")
    assert found["liver"] == coded("liver")
    job = make_job(task_name="segmentation", task_codes={"disc": ["SCT", "4421005", "Cell"]})
    assert job.task.codes["disc"][1] == "4421005"
    assert job.digest() != make_job(task_name="segmentation").digest()
    for codes, says in (
        ({"dics": ["SCT", "1", "Disc"]}, "no class 'dics'"),
        ({"disc": ["SCT", "1"]}, "codes"),
        ({"disc": ["SCT", "1", "Disc", "thing"]}, "none of anatomy, lesion, tissue"),
    ):
        with pytest.raises(JobError, match=says):
            make_job(task_name="segmentation", task_codes=codes)


@pytest.mark.parametrize("name", ["liver", "Left kidney", "vessels", "brain stem"])
def test_names_that_dicom_knows_have_its_code(name) -> None:
    assert coded(name).type.scheme_designator == ("SCT" if name != "Left kidney" else "99WARDROUND")


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (None, "Test^P"),
        ("ISO_IR 100", "Müller^Jürgen"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
    ids=["plain", "latin", "several"],
)
def test_names_in_any_letters_come_through(tmp_path, characters, name) -> None:
    folder = image(tmp_path / "ct")
    for file in folder.iterdir():
        item = pydicom.dcmread(file)
        if characters is not None:
            item.SpecificCharacterSet = characters
        item.PatientName = name
        item.save_as(file)
    mask = np.ones((7, 9, 6), np.uint8)
    (tmp_path / "seg.dcm").write_bytes(
        content(segmentation(mask, grid_of(folder), codes_of(["Größe"], {}), MAKER))
    )
    said = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (said.PatientName, said.SegmentSequence[0].SegmentLabel) == (name, "Größe")
    assert faults(tmp_path / "seg.dcm") == []


def test_of_a_tilted_gantry_it_lies_on_the_straightened_grid(tmp_path) -> None:
    folder = image(tmp_path / "ct")
    for file in folder.iterdir():
        item = pydicom.dcmread(file)
        x, y, z = item.ImagePositionPatient
        item.ImagePositionPatient = [x, y + 0.4 * (z - 30), z]
        item.save_as(file)
    picture = read_image(folder, 3)
    assert "straightened" in picture.notes[0]
    mask = by_brightness(picture.array[0])
    back = read_raw_mask(written(mask, folder, tmp_path / "seg.dcm"), 3)
    np.testing.assert_array_equal(back.array[0], mask)
    np.testing.assert_allclose(back.affine, picture.affine, atol=1e-4)
