"""Structured reports and secondary captures: what was said, where in which image; valid."""

import io
import json
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image

from client.data.images.readers import read_image
from client.predict.dicom.capture import capture
from client.predict.dicom.codes import coded, codes_of
from client.predict.dicom.grid import FileGrid
from client.predict.dicom.maker import RESEARCH, Maker
from client.predict.dicom.source import dicom_source
from client.predict.formats import Format
from client.predict.further import Further
from client.predict.geometry import Placed
from shared.errors import DataError
from tests.dicom_files import faults, write_ct

MAKER = Maker("brain", "ab" * 32)
TILTED = (0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def placed_on(path: Path, axes: int, **said: Any) -> Placed:
    nothing = dict.fromkeys(("mask", "boxes", "scores", "displacement", "true_mask", "true_boxes"))
    return Placed(picture=read_image(path, axes), file=path, images={}, **{**nothing, **said})


def objects(placed: Placed, cells: dict[str, Any], *formats: Format) -> dict[Format, bytes]:
    makes = Further(formats, MAKER, ("tumour", "edema"), codes_of(("tumour", "edema"), {}))
    return dict(makes.files("p1", placed, cells, None))


def report_of(made: dict[Format, bytes], folder: Path) -> highdicom.sr.MeasurementReport:
    file = folder / "sr.dcm"
    file.write_bytes(made["dicom-sr"])
    assert faults(file) == []
    said = highdicom.sr.srread(file)
    assert said.SeriesDescription.startswith(RESEARCH)
    assert said.VerificationFlag == "UNVERIFIED"
    return said.content


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1.0, 0), TILTED])
def test_a_box_of_a_volume_is_an_outline_on_each_of_its_slices(tmp_path, orientation) -> None:
    """The brightest voxels are in the box: an outline on another slice, or turned, would show."""
    stored = np.zeros((6, 9, 7))  # slices, rows, columns
    stored[2:4, 1:5, 3:6] = 900
    write_ct(tmp_path / "ct", stored, orientation=orientation)
    shown = read_image(tmp_path / "ct", 3).array[0]
    inside = np.argwhere(shown > 0)
    box = np.array([[*inside.min(axis=0), *(inside.max(axis=0) + 1), 0]], np.float32)
    placed = placed_on(tmp_path / "ct", 3, boxes=box, scores=np.array([0.75]))
    report = report_of(objects(placed, {"best_score": 0.75}, "dicom-sr"), tmp_path)
    [group] = report.get_volumetric_roi_measurement_groups()
    assert group.finding_type == coded("tumour").type
    assert [measure.value for measure in group.get_measurements()] == [0.75]
    regions = group.roi
    assert len(regions) == 2
    by_uid = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, (tmp_path / "ct").iterdir())}
    for region in regions:
        [source] = [one.ReferencedSOPSequence[0] for one in region.ContentSequence]
        pixels = by_uid[source.ReferencedSOPInstanceUID].pixel_array
        (left, top), (right, bottom) = region.value.min(axis=0), region.value.max(axis=0)
        assert (left, top, right, bottom) == (3, 1, 6, 5)
        assert (pixels[int(top) : int(bottom), int(left) : int(right)] == 900).all()


def test_sizes_name_the_segment_that_they_are_of(tmp_path) -> None:
    write_ct(tmp_path / "ct", np.arange(378).reshape(6, 9, 7))
    mask = np.zeros((7, 9, 6), np.uint8)
    mask[2:4, 3:5] = 2
    placed = placed_on(tmp_path / "ct", 3, mask=mask)
    cells = {"ml/tumour": 0.0, "ml/edema": 12.5, "dice/edema": 0.9, "true_positives/edema": 7}
    made = objects(placed, cells, "dicom-seg", "dicom-sr")
    report = report_of(made, tmp_path)
    [group] = report.get_volumetric_roi_measurement_groups()
    (tmp_path / "seg.dcm").write_bytes(made["dicom-seg"])
    segments = pydicom.dcmread(tmp_path / "seg.dcm")
    assert group.referenced_segment.referenced_sop_instance_uid == segments.SOPInstanceUID
    assert group.referenced_segment.referenced_segment_numbers == [2]
    [volume] = group.get_measurements()
    assert (volume.value, volume.unit.value, volume.name.meaning) == (12.5, "cm3", "Volume")
    [none] = report.get_image_measurement_groups()  # what is true, and how right it is, stays here
    assert [(one.value, one.unit.value) for one in none.get_measurements()] == [(0.0, "cm3")]


def test_scores_and_the_class_of_a_picture_with_its_boxes(tmp_path) -> None:
    [file] = write_ct(tmp_path, np.arange(63).reshape(1, 9, 7))
    boxes = np.array([[1, 2, 4, 6, 1], [0, 0, 1, 1, 0]], np.float32)
    placed = placed_on(file, 2, boxes=boxes, scores=np.array([0.9, 0.1]))
    cells = {"predicted": "edema", "score/edema": 0.8, "true": "tumour", "error/x": 3.0, "row": 3}
    report = report_of(objects(placed, cells, "dicom-sr"), tmp_path)
    [group] = report.get_planar_roi_measurement_groups()  # what is hardly sure is in the table alone
    assert group.roi.value.min(axis=0).tolist() == [2, 1]
    finding, image = report.get_image_measurement_groups()
    assert finding.finding_type == coded("edema").type
    assert [measure.value for measure in finding.get_measurements()] == [0.8]
    values = {measure.name.meaning: measure.value for measure in image.get_measurements()}
    assert values == {"score/edema": 0.8, "boxes": 1}


def test_an_overlay_is_a_picture_that_says_what_it_is_for(tmp_path) -> None:
    write_ct(tmp_path / "ct", np.zeros((3, 9, 7)))
    Image.new("RGB", (90, 40), "red").save(tmp_path / "o.png")
    makes = Further(["dicom-sc"], MAKER, (), {})
    [(form, made)] = makes.files("p1", placed_on(tmp_path / "ct", 3), {}, (tmp_path / "o.png").read_bytes())
    assert form == "dicom-sc"
    (tmp_path / "sc.dcm").write_bytes(made)
    assert faults(tmp_path / "sc.dcm") == []
    pixels = pydicom.dcmread(tmp_path / "sc.dcm").pixel_array
    assert (pixels[:40, :90] == (255, 0, 0)).all()
    assert (pixels[40:] == 255).any()  # the words below


@pytest.mark.parametrize("axes", [2, 3])
def test_nothing_found_is_reported(tmp_path, axes) -> None:
    """No box, and structures of no size: a patient without a lesion is no fault of the image."""
    files = write_ct(tmp_path / "ct", np.arange(63 * (axes - 1)).reshape(axes - 1, 9, 7))
    path = files[0] if axes == 2 else tmp_path / "ct"
    mask = np.zeros(read_image(path, axes).array.shape[1:], np.uint8)
    none = placed_on(path, axes, mask=mask, boxes=np.zeros((0, 2 * axes + 1)), scores=np.zeros(0))
    made = objects(none, {"ml/tumour": 0.0, "ml/edema": 0.0}, "dicom-seg", "dicom-sr", "fhir")
    *sizes, image = report_of(made, tmp_path).get_image_measurement_groups()
    assert [one.finding_type for one in sizes] == [coded("tumour").type, coded("edema").type]
    assert [measure.value for one in sizes for measure in one.get_measurements()] == [0, 0]
    assert [(one.name.meaning, one.value) for one in image.get_measurements()] == [("boxes", 0)]
    values = [entry["resource"].get("valueQuantity", {}) for entry in json.loads(made["fhir"])["entry"]]
    assert [value.get("value") for value in values] == [None, 0, 0, 0]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [(["NO", "NO"], "NO"), (["NO", "YES"], "YES"), (["NO", None], None), ([None, None], None)],
)
def test_a_picture_says_what_its_images_say_of_names_in_their_pixels(tmp_path, said, wanted) -> None:
    for file, own in zip(write_ct(tmp_path / "ct", np.zeros((2, 9, 7))), said, strict=True):
        if own:
            item = pydicom.dcmread(file)
            item.BurnedInAnnotation = own
            item.save_as(file)
    shown = io.BytesIO()
    Image.new("RGB", (90, 40), "red").save(shown, "PNG")
    made = capture(shown.getvalue(), dicom_source(tmp_path / "ct"), MAKER)
    assert made.get("BurnedInAnnotation") == wanted


def test_nothing_to_report_and_a_tilted_gantry_are_said(tmp_path) -> None:
    write_ct(tmp_path / "ct", np.zeros((3, 9, 7)))
    with pytest.raises(DataError, match="nothing that could be reported"):
        objects(placed_on(tmp_path / "ct", 3), {}, "dicom-sr")
    write_ct(tmp_path / "tilted", np.zeros((3, 9, 7)))
    for file in (tmp_path / "tilted").iterdir():
        item = pydicom.dcmread(file)
        height = item.ImagePositionPatient[2]
        item.ImagePositionPatient = [-20, 15 + 0.5 * height, height]
        item.save_as(file)
    grid = FileGrid.of(read_image(tmp_path / "tilted", 3), dicom_source(tmp_path / "tilted"))
    with pytest.raises(DataError, match="tilted gantry"):
        grid.planes()
