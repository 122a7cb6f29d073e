"""De-identified copies: nothing of what PS3.15 names is left, at any depth, and the image is as it was."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from client.data.check.identifying_headers import identifying_fields
from client.data.images.readers import read_image
from client.data.manifest.splits import CohortKey
from client.dicom_import.deidentify import PROFILE, clean, deidentify, mapped, table
from client.dicom_import.faces import may_show_a_face
from client.dicom_import.pseudonyms import Pseudonyms
from tests.cli import wardround
from tests.client.data.formats.dicom_files import written
from tests.client.dicom_import.heaps import write_series

NAMES = Pseudonyms(CohortKey.drawn(7))
SECRETS = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR"), "SECRET"),
    "DS": "31337",
    "IS": "31337",
    "AS": "077Y",
    "DA": "19771231",
    "DT": "19771231235959",
    "TM": "235959.77",
    **dict.fromkeys(("FD", "FL"), 31337.5),
    **dict.fromkeys(("SL", "SS", "UL", "US", "SV", "UV"), 31337),
    **dict.fromkeys(("OB", "OW", "UN", "OB or OW", "OF", "OD", "OL", "OV"), b"SECRET"),
    "UI": "1.3.6.1.4.1.31337.1",
}
TEXTS = (b"SECRET", b"31337", b"19771231", b"077Y", b"235959.77")


def secret(tag: tuple[int, int]) -> tuple[str, Any]:
    number = pydicom.tag.Tag(tag)
    vr = dictionary_VR(number) if dictionary_has_tag(number) else "LO"  # of a later edition than pydicom's
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.ReferencedSOPInstanceUID = "SECRET", "1.3.6.1.4.1.31337.1"
        return vr, Sequence([item])
    return ("OW" if " or " in vr else vr), SECRETS.get(vr, SECRETS["OB"])


def filled() -> Dataset:
    """Return a dataset that has every element of table E.1-1, and some of repeating groups."""
    exact, masked = table()
    dataset = Dataset()
    for tag in exact:
        if tag[0] > 2:
            dataset.add_new(tag, *secret(tag))
    for group, number, *_ in masked:
        dataset.add_new(
            (group, number or 0x3000),
            "LT" if number == 0x4000 else "OW",
            "SECRET" if number == 0x4000 else b"SECRET",
        )
    block = dataset.private_block(0x0029, "SECRET MAKER", create=True)
    block.add_new(0x10, "LO", "SECRET")
    dataset.add_new((0x0008, 0xEEEE), "LO", "SECRET")  # of no edition
    return dataset


def test_every_element_of_the_profile_is_gone_or_replaced_at_any_depth() -> None:
    assert len(table()[0]) > 600
    inner, outer = filled(), filled()
    holder = Dataset()
    holder.SourceImageSequence = Sequence([inner])  # a sequence that stays
    outer.SharedFunctionalGroupsSequence = Sequence([holder])
    clean(outer, NAMES)
    assert outer.SharedFunctionalGroupsSequence[0].SourceImageSequence[0].keys()
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, outer, implicit_vr=False, little_endian=True)
    for text in TEXTS:
        assert text not in stream.getvalue(), text
    for element in outer.iterall():
        assert not element.tag.is_private
        assert element.value not in (31337, 31337.5), element


def test_a_second_tool_finds_nothing_of_what_it_would_take_out(tmp_path: Path) -> None:
    dataset = filled()
    before = {int(element.tag): element.value for element in dataset}
    clean(dataset, NAMES)
    profile = gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()
    tags = [(tag.GetGroup() << 16) + tag.GetElement() for tag in profile]
    assert len(tags) > 40
    left = [
        hex(tag)
        for tag in tags
        if tag in dataset and dataset[tag].value and dataset[tag].value == before.get(tag)
    ]
    assert left == []


@pytest.mark.parametrize(
    ("tags", "shown"),
    [
        ({"BodyPartExamined": "HEAD"}, True),
        ({"BodyPartExamined": "CHEST", "StudyDescription": "PET/CT skull base to thigh"}, True),
        ({"SeriesDescription": "t1 Schädel"}, True),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "cardiac surface, linear"}, False),
        ({"BodyPartExamined": "SKULL", "Modality": "DX"}, False),  # no volume
        ({}, None),
    ],
)
def test_a_head_is_known_by_its_headers(tags: dict[str, str], shown: bool | None) -> None:
    assert may_show_a_face(lambda name: {"Modality": "MR", **tags}.get(name, "")) is shown


def test_uids_stand_for_the_same_everywhere_and_those_of_dicom_stay() -> None:
    one = mapped("1.2.3", NAMES)
    assert one == mapped("1.2.3", NAMES) != mapped("1.2.4", NAMES)
    assert one != mapped("1.2.3", Pseudonyms(CohortKey.drawn(8)))
    assert pydicom.uid.UID(one).is_valid
    assert mapped("1.2.840.10008.5.1.4.1.1.4", NAMES) == "1.2.840.10008.5.1.4.1.1.4"


def test_spaces_around_an_id_make_no_other_patient() -> None:
    assert NAMES.patient(" HOSP1 ") == NAMES.patient("HOSP1")
    assert NAMES.days(" HOSP1 ") == NAMES.days("HOSP1")


def imported(place: Path, *options: object, code: int = 0) -> Any:
    ended = wardround(
        "data", "import", place / "in", "--out", place / "ds", "--deidentify", *options, "--json"
    )
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stdout)


def test_a_dataset_of_copies_names_nobody(tmp_path: Path) -> None:
    head = {"BodyPartExamined": "HEAD", "InstitutionName": "St. Secret"}
    slices = write_series(tmp_path / "in", "HOSP1", 1, 1, "flair", **head)
    original = read_image(tmp_path / "in")
    content = slices[0].read_bytes()
    slices[0].write_bytes(b"SECRET".ljust(128) + content[128:])  # what stands before the begin
    answer = imported(tmp_path)
    assert answer["profile"] == PROFILE
    assert answer["faces"] == 1
    told = json.loads((tmp_path / "ds.import" / "report.json").read_text())
    assert (told["faces"], told["options_not_done"]) == (1, ["Clean Recognizable Visual Features"])
    (row,) = csv.DictReader(io.StringIO((tmp_path / "ds" / "manifest.csv").read_text()))
    folder = tmp_path / "ds" / row["image"]
    copy = read_image(folder)
    assert np.array_equal(copy.array, original.array)
    assert np.allclose(copy.affine, original.affine)
    for file in folder.iterdir():
        text = file.read_bytes()
        for secret_text in (b"HOSP1", b"Secret", b"SECRET", b"ACC1", b"1.2.1.1", b"19500101", b"20200310"):
            assert secret_text not in text
        assert file.stat().st_mode & 0o777 == 0o600
        assert identifying_fields(file) <= {"PatientName", "PatientID", "InstitutionName"}  # replaced
        dataset = pydicom.dcmread(file)
        assert dataset.PatientID == row["patient"]
        assert dataset.RecognizableVisualFeatures == "YES"
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert imported(tmp_path)["used"] == answer["used"]
    mixed = wardround("data", "import", tmp_path / "in", "--out", tmp_path / "ds")
    assert "were imported de-identified" in mixed.stderr


def test_processes_copy_as_one_does_and_a_damaged_file_leaves_out_its_row(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 1, 1, "t1", slices=18)
    path = write_series(tmp_path / "in", "b", 2, 1, "t1")[1]
    content = path.read_bytes()
    place = content.index(b"\x10\x00\x10\x00PN")
    name = content[place : place + 8 + content[place + 6]]
    path.write_bytes(content[:place] + name + content[place:])  # says twice who it is
    one = imported(tmp_path, "--processes", 1)
    files = {file.name: file.read_bytes() for file in (tmp_path / "ds").rglob("*.dcm")}
    assert len(files) == 18
    (reason,) = one["skipped"]["row"]
    assert "has the element" in reason
    shutil.rmtree(tmp_path / "ds")
    shutil.rmtree(tmp_path / "ds.import")
    assert imported(tmp_path, "--processes", 2) == one
    assert {file.name: file.read_bytes() for file in (tmp_path / "ds").rglob("*.dcm")} == files


def test_what_may_be_burned_in_is_named_and_not_copied(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "plain", 1, 1, "t1")
    write_series(tmp_path / "in", "us", 2, 1, "liver", slices=1, Modality="US")
    write_series(tmp_path / "in", "said", 3, 1, "t1", BurnedInAnnotation="YES")
    picture = Image.new("L", (256, 256))
    ImageDraw.Draw(picture).text((20, 100), "MUSTERMANN ANNA 01.02.1950", fill=255, font_size=16)
    written(
        tmp_path / "in" / "text",
        np.asarray(picture, np.int16),
        PatientID="text",
        StudyInstanceUID="1.2.9",
        SeriesInstanceUID="1.2.9.1",
    )
    answer = imported(tmp_path)
    assert answer["used"]["rows"] == 1
    assert answer["skipped"]["row"] == {
        f"may have names burned into its pixels ({reason})": 1
        for reason in ("modality US", "BurnedInAnnotation is YES", "text is seen")
    }
    assert imported(tmp_path, "--allow-burned-in")["used"]["rows"] == 4


def add_overlay(path: Path, bit: int, data: bytes | None) -> None:
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000102, "US", bit)
    if data is not None:
        dataset.add_new(0x60003000, "OW", data)
    dataset.save_as(path)


def test_an_overlay_that_may_stand_in_the_pixels_is_not_copied(tmp_path: Path) -> None:
    for number, (bit, data) in enumerate(((0, bytes(8)), (12, bytes(8)), (0, None)), 1):
        add_overlay(write_series(tmp_path / "in", f"p{number}", number, 1, "t1")[1], bit, data)
    answer = imported(tmp_path)
    assert answer["used"]["rows"] == 1  # an overlay of its own is taken out
    assert answer["skipped"]["row"] == {"may have names burned into its pixels (an overlay)": 2}
    assert imported(tmp_path, "--allow-burned-in")["used"]["rows"] == 3


@pytest.mark.parametrize("how", ["--copy", "--deidentify"])
def test_a_copy_is_made_again_where_its_source_was_corrected(tmp_path: Path, how: str) -> None:
    path = write_series(tmp_path / "in", "a", 1, 1, "t1")[1]
    asked = ("data", "import", tmp_path / "in", "--out", tmp_path / "ds", how)
    assert wardround(*asked).returncode == 0
    before = {
        file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in (tmp_path / "ds").rglob("*.dcm")
    }
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert wardround(*asked).returncode == 0
    after = {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in before}
    (changed,) = [file for file in before if after[file] != before[file]]
    assert changed.read_bytes()[-1] == content[-1]
    assert after[changed][1] != path.stat().st_mtime_ns  # that may be the day of a study


def test_headers_of_five_makers(data_pack, tmp_path: Path) -> None:
    pack = data_pack("dicom_samples")
    secrets = set()
    for path in pack.glob("*/*/*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        for name in (
            "PatientID",
            "InstitutionName",
            "InstitutionAddress",
            "DeviceSerialNumber",
            "StudyInstanceUID",
            "SOPInstanceUID",
        ):
            secrets.add(str(header.get(name) or ""))
    secrets = {text.encode() for text in secrets if len(text) > 6 and text != "phantom"}
    assert len(secrets) > 100
    (tmp_path / "in").mkdir()
    for series in pack.glob("*/*/"):
        for path in sorted(series.iterdir())[:3]:
            shutil.copy(path, tmp_path / "in" / f"{series.name}-{path.name}")
    for number, path in enumerate(sorted((tmp_path / "in").iterdir())):
        copy = tmp_path / f"{number}.dcm"
        with copy.open("w+b") as target:
            deidentify(path, target, NAMES)
        content = copy.read_bytes()
        assert [text for text in secrets if text in content] == []
        before, after = pydicom.dcmread(path), pydicom.dcmread(copy)
        assert after.PixelData == before.PixelData
        assert after.get("ImagePositionPatient") == before.get("ImagePositionPatient")
        assert not [element for element in after.iterall() if element.tag.is_private]
