"""Manifests and settings as Windows and spreadsheets write them."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.manifest.csv_files import file_below, missing, normal, read_table
from client.data.manifest.rows import scan_manifest
from client.data.manifest.side_tables import SideTable
from client.settings.site import load_site
from shared.errors import DataError, SiteError

HEADER, ROWS = ("patient", "image", "label"), [["p1", "a.png", "x"], ["p2", "b.png", "ü"]]


def text_of(separator: str = ",", end: str = "\n") -> str:
    return end.join(separator.join(cells) for cells in (HEADER, *ROWS)) + end


def saved(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (text_of(), "utf-8"),
        (text_of(), "utf-8-sig"),
        (text_of(), "utf-16"),
        (text_of(";"), "utf-8-sig"),
        (text_of("\t"), "utf-16"),
        (text_of(",", "\r\n"), "utf-8"),
        ("sep=;\r\n" + text_of(";", "\r\n"), "utf-8-sig"),
        ("sep=|\n" + text_of("|"), "utf-8"),
        ('"SEP=;"\r' + text_of(";", "\r"), "utf-8"),
        (text_of(";", "\r").replace("label", '"label"'), "utf-8"),
        ("\r\n\r\n" + text_of(), "utf-8"),
        (text_of(), "utf-32"),
        (text_of().replace("a.png", "a.png\u00a0").replace("p1", "\u200bp1\ufeff"), "utf-8"),
        (text_of().replace("p1", '="p1"'), "utf-8"),
        (text_of().replace("\n", ",,\n"), "utf-8"),
        (text_of().replace("label\n", "label ,\n").replace("x\n", " x,\n"), "utf-8"),
        (text_of() + ",,\n\n", "utf-8"),
        (text_of().replace("a.png", '"a.png"'), "utf-8"),
        (unicodedata.normalize("NFD", text_of()), "utf-8"),
    ],
)
def test_what_a_spreadsheet_saves_is_one_table(tmp_path, content, encoding):
    header, rows = read_table(saved(tmp_path / "m.csv", content, encoding))
    assert header == HEADER
    assert [cells[:3] for _, cells in rows] == ROWS
    assert all(not any(cells[3:]) for _, cells in rows)


def test_rows_are_counted_as_the_spreadsheet_counts_them(tmp_path):
    _, rows = read_table(saved(tmp_path / "m.csv", "sep=,\n" + text_of()))
    assert [number for number, _ in rows] == [3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text_of().encode("cp1252"), "not in UTF-8: byte 0xfc in line 3"),
        (text_of().encode("utf-16-le"), "UTF-16 without its mark"),
        (b"PK\x03\x04" + bytes(50), "a workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "a workbook"),
        (b'patient,image\np1,"a.png\np2,b.png\n', "is not a CSV"),
        (b"patient,patient\na,b\n", "two columns 'patient'"),
        (b"patient,,label\na,b,c\n", "no name for its column 2"),
    ],
)
def test_what_is_ambiguous_is_named_for_what_it_is(tmp_path, content, said):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "m.csv")


@given(st.binary(max_size=200))
def test_no_bytes_at_all_end_in_anything_but_a_table_or_a_reason(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("t") / "manifest.csv"
    path.write_bytes(content)
    try:
        scan_manifest(path)
    except DataError as error:
        assert error.problem  # noqa: PT017


def test_one_patient_in_two_unicode_forms_is_one_patient(tmp_path):
    names = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    saved(tmp_path / "manifest.csv", "patient,image\n" + "".join(f"{name},a.png\n" for name in names))
    assert len({record.patient for record in scan_manifest(tmp_path).records}) == 1


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_whatever_form_its_name_has(tmp_path, form):
    (tmp_path / "bilder").mkdir()
    (tmp_path / "bilder" / unicodedata.normalize(form, "Größe.png")).touch()
    assert file_below(tmp_path, normal("bilder/Größe.png")).exists()
    assert file_below(tmp_path, "bilder\\Größe.png").exists()


def test_a_path_of_windows_and_another_case_are_said(tmp_path):
    (tmp_path / "A.PNG").touch()
    assert "'A.PNG', and upper and lower case count" in missing(tmp_path / "a.png")
    for name in (r"C:\images\a.png", r"\\server\images\a.png"):
        with pytest.raises(ValueError, match="a path of Windows"):
            file_below(tmp_path, name)


def test_settings_may_have_the_mark_of_windows(tmp_path):
    saved(tmp_path / "site.toml", '[site]\nname = "a"\n', "utf-8-sig")
    assert load_site(tmp_path / "site.toml").name == "a"
    saved(tmp_path / "site.toml", '[site]\nname = "a"\n', "utf-16")
    with pytest.raises(SiteError, match="is in UTF-16"):
        load_site(tmp_path / "site.toml")


@pytest.mark.parametrize(
    "patient",
    [
        "nan",
        "NULL",
        "#N/A",
        "#REF!",
        "#NAME?",
        "1.23E+11",
        "1.2e+15",
        "M\ufffdller",
        "########",
        "4-Mar",
        "Mar-04",
    ],
)
def test_an_id_that_was_lost_is_nobody_s(tmp_path, patient):
    text = f"patient,image\n{patient},a.png\n{patient},b.png\n#12,c.png\n"
    manifest = scan_manifest(saved(tmp_path / "m.csv", text))
    assert [record.patient for record in manifest.records] == ["#12"]
    assert len(manifest.problems) == 2


def ids(folder: Path, *names: str) -> Path:
    rows = "".join(f"{name},a.png\n" for name in names)
    return saved(folder / "manifest.csv", f"patient,image\n{rows}")


def test_digits_that_a_spreadsheet_cut_are_named(tmp_path):
    lost = scan_manifest(ids(tmp_path, "1234567890123450000", "1234567890123460000"))
    assert len(lost.problems) == 2
    assert "makes one patient of several" in str(lost.problems[0])
    whole = ids(tmp_path, "1234567890123450", "1234567890123451", "1234567890123452", "123456789012000")
    assert not scan_manifest(whole).problems
    (tmp_path / "boxes.csv").write_text("patient,x\n1234567890123450000,1\n")
    with pytest.raises(DataError, match="makes one patient of several"):
        SideTable.read(tmp_path / "boxes.csv")


def test_a_mark_of_text_is_no_part_of_an_id(tmp_path):
    (problem,) = scan_manifest(ids(tmp_path, "'0012", "'s-Gravenhage-1")).problems
    assert "'0012 begins with a spreadsheet's mark of text" in str(problem)
    (tmp_path / "boxes.csv").write_text("patient,x\n'0012,1\n")
    with pytest.raises(DataError, match="mark of text"):
        SideTable.read(tmp_path / "boxes.csv")
