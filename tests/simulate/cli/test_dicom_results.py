"""From CT series to results in DICOM: trained on, predicted, written beside the images, read again."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from client.data.images.readers import read_image, read_raw_mask
from client.predict.dicom.codes import coded
from client.predict.dicom.grid import FileGrid
from client.predict.dicom.maker import Maker
from client.predict.dicom.part10 import content
from client.predict.dicom.segmentation import segmentation
from client.predict.dicom.source import dicom_source
from client.predict.formats import FORMATS
from shared.audit.log import parse_entry
from shared.pki.certificates import new_key, save_key
from tests.cli import wardround
from tests.client.dicom_import.heaps import write_key
from tests.client.health_records.omop import QUERY, TABLES, patient
from tests.client.health_records.site import write_site as write_cohort
from tests.dicom_files import faults, write_ct
from tests.jobs import job_text
from tests.orthanc import Orthanc, running_orthanc
from tests.postgres import running_postgres

OPTIONS = {
    "task_classes": ["lesion"],
    "job_rounds": 1,
    "data_dimensions": 3,
    "data_size": [8, 12, 8],
    "model_channels": [4, 8],
}


def as_(formats: Sequence[str]) -> list[str]:
    return [word for own in formats for word in ("--as", own)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_hospitals(folder: Path) -> Path:
    """Write a bright box in noise for each patient: a CT series, its mask a SEG; return the manifest."""
    generator, said = np.random.default_rng(0), []
    for site in ("alpha", "beta", "gamma"):
        for number, split in enumerate(("train", "train", "val", "test")):
            patient = f"{site}-{number}"
            low = generator.integers(0, 4, 3)
            box = np.zeros((6, 12, 10), np.uint8)
            box[tuple(slice(start, start + 4) for start in low)] = 1
            write_ct(folder / patient, generator.normal(0, 60, box.shape) + 400.0 * box, patient=patient)
            picture = read_image(folder / patient, 3)
            stored = picture.turn.apply(np.moveaxis(box, 0, -1))
            grid = FileGrid.of(picture, dicom_source(folder / patient))
            drawn = segmentation(stored, grid, {"box": coded("box")}, Maker("hand", "0"))
            (folder / f"{patient}.dcm").write_bytes(content(drawn))
            said.append(f"{site},{patient},{patient},{patient}.dcm,{split}")
    (folder / "manifest.csv").write_text("\n".join(["site,patient,image,mask,split", *said]) + "\n")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return hospitals' data, and a run on it."""
    folder = tmp_path_factory.mktemp("ct")
    manifest = write_hospitals(folder / "data")
    (folder / "job.toml").write_text(job_text(**OPTIONS))
    said = wardround("simulate", "job.toml", "--data", "data", "--workers", "in-process", cwd=folder)
    assert said.returncode == 0, said.stderr
    [run] = (folder / "runs").iterdir()
    return manifest, run


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory, trained: tuple[Path, Path]) -> Path:
    """Return what the run's model says of all images."""
    manifest, run = trained
    out = tmp_path_factory.mktemp("said") / "out"
    said = wardround("predict", run, "--data", manifest, "--out", out, *as_(FORMATS))
    assert said.returncode == 0, said.stderr
    return out


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


def test_a_seg_holds_what_the_nifti_mask_does_where_the_image_is(predicted, trained) -> None:
    for said, known in zip(rows(predicted / "predictions.csv"), rows(trained[0]), strict=True):
        seg = read_raw_mask(predicted / said["dicom-seg"], 3)
        np.testing.assert_array_equal(seg.array, read_raw_mask(predicted / said["mask"], 3).array)
        image = read_image(trained[0].parent / known["image"], 3)
        np.testing.assert_allclose(seg.affine, image.affine, atol=1e-4)
    assert faults(predicted / said["dicom-seg"]) == []
    written = pydicom.dcmread(predicted / said["dicom-seg"])
    assert written.PatientID == known["patient"]
    assert written.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"


def test_a_report_holds_the_sizes_of_the_table(predicted) -> None:
    for said in rows(predicted / "predictions.csv"):
        report = highdicom.sr.srread(predicted / said["dicom-sr"])
        groups = report.content.get_volumetric_roi_measurement_groups()
        sizes = [measure.value for group in groups for measure in group.get_measurements()]
        assert sizes == pytest.approx([float(said["ml/lesion"])] if float(said["ml/lesion"]) else [])
    for form in ("dicom-sr", "dicom-sc"):
        assert faults(predicted / said[form]) == []


def write_site(folder: Path) -> Path:
    """Make a folder of a site, in whose audit log it stands what is taken and stored; return it."""
    (folder / "site" / "keys").mkdir(parents=True)
    save_key(folder / "site" / "keys" / "site.key", new_key())
    return folder / "site"


def events(site: Path) -> list[str]:
    lines = [
        line
        for path in sorted((site / "audit").glob("*.jsonl"))
        for line in path.read_bytes().splitlines(keepends=True)
    ]
    return [parse_entry(line).event for line in lines]


def test_from_archive_to_archive(orthanc, trained, tmp_path) -> None:
    """A study in the archive, predicted, its results stored there and read back: as they were."""
    manifest, run = trained
    patient = rows(manifest)[0]["image"]
    for file in (manifest.parent / patient).iterdir():
        orthanc.put(file)
    for number, content_ in enumerate(orthanc.instances("CT")):
        (tmp_path / "study").mkdir(exist_ok=True)
        (tmp_path / "study" / f"{number}.dcm").write_bytes(content_)
    settings, site = orthanc.write_settings(tmp_path), write_site(tmp_path)
    out = tmp_path / "out"
    asked = ("predict", run, "--data", tmp_path / "study", "--out", out, *as_(["dicom-seg", "dicom-sr"]))
    said = wardround(*asked, "--store", settings, "--dir", site, "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["stored"] == 2
    said = wardround("store", out, settings, "--dir", site, "--json")  # again: the archive has each once
    assert json.loads(said.stdout)["stored"] == 2
    assert events(site) == ["log-started", "results-stored", "results-stored"]
    [seg], [sr] = orthanc.instances("SEG"), orthanc.instances("SR")
    (tmp_path / "seg.dcm").write_bytes(seg)
    [row] = rows(out / "predictions.csv")
    image, mask = read_image(tmp_path / "study", 3), read_raw_mask(tmp_path / "seg.dcm", 3)
    np.testing.assert_array_equal(mask.array, read_raw_mask(out / row["mask"], 3).array)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    (tmp_path / "sr.dcm").write_bytes(sr)
    written, report = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(tmp_path / "sr.dcm")
    assert {written.StudyInstanceUID, report.StudyInstanceUID} == {
        dicom_source(tmp_path / "study").first.StudyInstanceUID
    }
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert written.SeriesInstanceUID in {series.SeriesInstanceUID for series in evidence}


RULES = """
rows = "study"
[series.image]
modality = "CT"
[series.mask]
modality = "SEG"
of = "image"
"""


def test_studies_of_a_cohort_train_a_model_whose_results_go_back_to_the_archive(tmp_path) -> None:
    """Asked of PostgreSQL, pulled from Orthanc with drawn masks, trained on, predicted, stored, read back."""
    manifest, site = write_hospitals(tmp_path / "scanned"), tmp_path / "site"
    data = site / "data" / "brain"
    for folder in (tmp_path / "archive", data.parent):
        folder.mkdir(parents=True)
    (tmp_path / "rules.toml").write_text(RULES)
    write_key(data.parent)
    with running_orthanc(tmp_path / "archive") as archive, running_postgres() as omop:
        names = [row["patient"] for row in rows(manifest)]
        known = [patient(number, name, f"A{name}") for number, name in enumerate(names)]
        omop.do(*TABLES, *(statement for own in known for statement in own))
        write_cohort(site, omop.by_socket, QUERY)
        for file in sorted(manifest.parent.rglob("*.dcm")):
            archive.put(file)
        settings = archive.write_settings(tmp_path)
        own = settings.read_text()
        settings.write_text(own + own.replace("[store]", "[pull]"))
        (tmp_path / "job.toml").write_text(job_text(**OPTIONS, strategy_min_sites=2))
        for line in (
            ("data", "pull", "--cohort", "brain", "--from", settings, "--rules", "rules.toml", "--dir", site),
            ("simulate", "job.toml", "--data", data, "--sites", 2, "--workers", "in-process"),
        ):
            said = wardround(*line, cwd=tmp_path)
            assert said.returncode == 0, said.stderr
        [run] = (tmp_path / "runs").iterdir()
        asked = ("predict", run, "--data", data, "--out", "said", *as_(["dicom-seg", "dicom-sr"]))
        said = wardround(*asked, "--store", settings, "--dir", site, cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        stored = {
            modality: {item.SOPInstanceUID: item for item in map(read, archive.instances(modality))}
            for modality in ("SEG", "SR")
        }
    folders = [manifest.parent / row["image"] for row in rows(manifest)]
    scanned = {read((folder / "003.dcm").read_bytes()).StudyInstanceUID: folder for folder in folders}
    predicted = rows(tmp_path / "said/predictions.csv")
    assert len(predicted) == len(scanned) == 12
    for row in predicted:
        seg = read((tmp_path / "said" / row["dicom-seg"]).read_bytes())
        back = stored["SEG"][seg.SOPInstanceUID]
        assert back.PixelData == seg.PixelData
        back.save_as(tmp_path / "back.dcm")
        mask, image = read_raw_mask(tmp_path / "back.dcm", 3), read_image(scanned[back.StudyInstanceUID], 3)
        np.testing.assert_array_equal(mask.array, read_raw_mask(tmp_path / "said" / row["mask"], 3).array)
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
        assert read((tmp_path / "said" / row["dicom-sr"]).read_bytes()).SOPInstanceUID in stored["SR"]


def read(content_: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content_))


def test_what_was_said_as_json_and_fhir(predicted, trained) -> None:
    table = json.loads((predicted / "predictions.json").read_text())
    assert [str(row["ml/lesion"]) for row in table] == [
        row["ml/lesion"] for row in rows(predicted / "predictions.csv")
    ]
    for row, known in zip(table, rows(trained[0]), strict=True):
        report = json.loads((predicted / row["fhir"]).read_text())["entry"][0]["resource"]
        assert report["subject"]["identifier"]["value"] == known["patient"]
        study = dicom_source(trained[0].parent / known["image"]).first.StudyInstanceUID
        assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{study}"


def test_words_that_make_no_sense_are_refused_before_anything_is_predicted(trained, tmp_path) -> None:
    (manifest, run), site = trained, write_site(tmp_path)
    for options, says in (
        (("--as", "dicom-sg"), "unknown format 'dicom-sg'"),
        (("--store", "https://pacs.example.org"), "Add --as dicom-seg"),
        (("--as", "dicom-seg", "--store", "http://pacs.example.org"), "TLS alone"),
    ):
        asked = ("predict", run, "--data", manifest, "--out", tmp_path / "out", "--dir", site)
        said = wardround(*asked, *options)
        assert said.returncode == 2
        assert says in said.stderr
        assert not (tmp_path / "out").exists()
    said = wardround("store", tmp_path, "https://pacs.example.org", "--dir", site)
    assert said.returncode == 2
    assert "has nothing that an archive takes" in said.stderr
    said = wardround("store", tmp_path, "https://pacs.example.org", "--dir", tmp_path)
    assert "there is no site here" in said.stderr


def test_images_that_are_not_dicom_are_named(tmp_path, trained) -> None:
    manifest, run = trained
    (tmp_path / "in").mkdir()
    mask = read_image(manifest.parent / rows(manifest)[0]["image"], 3)
    np.save(tmp_path / "in/a.npy", mask.array[0])
    said = wardround(
        "predict", run, "--data", tmp_path / "in", "--out", tmp_path / "out", "--as", "dicom-seg"
    )
    assert said.returncode == 2
    assert "is not a DICOM image" in said.stderr
