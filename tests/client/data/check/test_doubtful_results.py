"""What a good statistician would ask about a dataset before anybody trains on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client.data.check.dataset_check import check_dataset, check_parts
from client.data.check.doubtful_results import Seen, doubts
from client.data.check.expected import Expected
from client.data.check.fingerprints import fingerprint
from client.data.check.identifying_headers import identifying_fields
from client.data.manifest.pooled_sites import Part
from client.data.manifest.rows import Record
from client.data.manifest.splits import CohortKey, Split
from shared.metrics.intervals import wilson

SPLIT = Split(CohortKey.drawn(0))
PRINTS = [fingerprint(np.random.default_rng(number).random((1, 32, 32))) for number in range(400)]


def seen(number: int, **facts: object) -> Seen:
    made = {
        "site": "a",
        "patient": f"p{number}",
        "side": "train",
        "label": "x",
        "content": f"c{number}",
    } | facts
    record = Record(number, str(made["patient"]), (Path(f"{number}.png"),), site=str(made["site"]))
    return Seen(
        record,
        str(number),
        str(made["side"]),
        str(made["content"]),
        made.get("print", PRINTS[number % 400]),
        (str(made["label"]),),
        made.get("empty"),
        bool(made.get("text")),
        made.get("constant", (False,)),
    )


def said(rows: list[Seen]) -> str:
    return "\n".join(doubts(rows))


def test_a_label_that_the_site_tells_is_said_with_its_figure():
    rows = [seen(i, site="ab"[i % 2], label="x" if (i % 2 == 0) == (i % 10 > 0) else "y") for i in range(100)]
    assert "the site alone tells 'x' with AUROC 0.92" in said(rows)
    even = [seen(i, site="ab"[i % 2], label="xy"[i // 2 % 2]) for i in range(100)]
    assert "the site alone" not in said(even)


def test_of_several_classes_the_mean_is_said_too():
    rows = [seen(i, site="abc"[i % 3], label="xyz"[i % 3 if i % 5 else 0]) for i in range(150)]
    assert "on average over the classes" in said(rows)


def test_chance_alone_rarely_makes_a_site_tell():
    told = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        rows = [
            seen(i, site="ab"[generator.integers(2)], label="xy"[generator.integers(2)]) for i in range(40)
        ]
        told += "the site alone" in said(rows)
    assert told <= 9  # three in a hundred


def test_many_images_of_few_patients_are_no_proof():
    generator = np.random.default_rng(0)
    told = 0
    for _ in range(60):
        labels = generator.integers(2, size=8)  # of eight patients with fifty images each, four at each site
        rows = [
            seen(i, patient=f"p{i // 50}", site="ab"[i // 50 % 2], label="xy"[labels[i // 50]])
            for i in range(400)
        ]
        told += "the site alone" in said(rows)
    assert told <= 3


def test_one_class_at_a_site_and_contradictions_are_named():
    rows = [
        seen(1),
        seen(2, site="b"),
        seen(3, site="b", label="y"),
        seen(4, content="c3", label="x", site="b"),
    ]
    text = said(rows)
    assert "one class only at site a ('x')" in text
    assert "1 group of equal images with different labels: rows 3 and 4" in text


def test_copies_are_counted_by_where_they_do_harm():
    rows = [seen(number) for number in range(10)]
    rows += [seen(10, content="c0", side="test"), seen(11, content="c1", site="b")]
    rows += [seen(12, print=PRINTS[2], side="val"), seen(13, print=PRINTS[3], site="b")]
    text = said(rows)
    assert (
        "1 group of equal images on two sides of the split, where a copy makes the test unfair: rows 0 and 10"
        in text
    )
    assert "1 group of equal images at two sites, where a copy counts twice: rows 1 and 11" in text
    assert "look alike, perhaps copies, on two sides of the split" in text
    assert "rows 2 and 12" in text
    assert "rows 3 and 13" in text


def test_three_examples_and_the_number_of_the_others():
    text = said([seen(number, constant=(True,)) for number in range(7)])
    assert "7 images of a single value: rows 0, 1, 2 and 4 more" in text


def test_one_file_as_two_images_of_a_row_is_named():
    rows = [seen(i) for i in range(4)]
    twice = replace(rows[1], record=replace(rows[1].record, images=(Path("1.png"), Path("1.png"))))
    assert "1 row with one file as two of its images: row 1" in said([rows[0], twice, *rows[2:]])
    assert "two of its images" not in said(rows)


def test_a_small_test_says_how_little_it_can_show():
    text = said([seen(i, side="test") for i in range(22)])
    low, high = wilson(0.8 * 22, 22)
    expected = (
        f"the test has 22 patients: a share of 0.80 of them may be anything from {low:.2f} to {high:.2f}"
    )
    assert expected in text
    assert "the test has" not in said([seen(i, side="test") for i in range(400)])


def test_empty_masks_make_an_empty_answer_look_good():
    rows = [seen(i, side="test", empty=i % 2 == 0) for i in range(40)]
    assert "20 of the 40 masks in the test are empty" in said(rows)
    assert "(dice_image) of 0.50" in said(rows)
    assert "empty" not in said([seen(i, side="test", empty=False) for i in range(40)])


@pytest.fixture
def hospitals(tmp_path) -> list[Path]:
    """Two hospitals with a manifest each; an image of the first was saved anew at the second."""
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        rows = ["patient,image,label,split"]
        for number in range(8):
            scene = np.random.default_rng([len(rows), site == "south"]).random((16, 16))
            picture = Image.fromarray(np.uint8(np.kron(scene, np.ones((8, 8))) * 200))
            picture.save(tmp_path / site / f"{number}.png")
            label, side = "ill" if site == "north" else "well", "test" if number > 5 else "train"
            rows.append(f"{number},{number}.png,{label},{side}")
        (tmp_path / site / "manifest.csv").write_text("\n".join(rows))
    Image.open(tmp_path / "north" / "2.png").save(tmp_path / "south" / "5.png", compress_level=1)
    copy = Image.open(tmp_path / "north" / "3.png").resize((96, 96))
    copy.save(tmp_path / "south" / "7.jpg", quality=60)
    (tmp_path / "south" / "7.jpg").rename(tmp_path / "south" / "7.png")
    return [tmp_path / "north", tmp_path / "south"]


def test_hospitals_are_looked_at_together(hospitals):
    job = Expected("classification", ("ill", "well"))
    parts = [Part(folder, SPLIT, name=folder.name) for folder in hospitals]
    text = "\n".join(check_parts(parts, job).warnings)
    assert "the site alone tells 'ill' with AUROC 1.00" in text
    assert "rows 4 of north and 7 of south" in text
    assert "look alike, perhaps copies, on two sides of the split" in text
    assert "rows 5 of north and 9 of south" in text
    alone = "\n".join(check_dataset(hospitals[0], job, split=SPLIT).warnings)
    assert "the site alone" not in alone
    assert "look alike" not in alone


def test_fields_that_identify_are_counted_by_name_and_never_shown(tmp_path):
    exif = Image.Exif()
    exif[315] = "Dr Who"
    exif.get_ifd(34665)[42032] = "Sister Hope"
    noise = np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "manifest.csv").write_text("patient,image,split\np1,a.jpg,train\n")
    report = check_dataset(tmp_path, Expected(), split=SPLIT)
    (told,) = [line for line in report.warnings if "may identify" in line]
    assert "artist (1)" in told
    assert "owner of the camera (1)" in told
    assert not any("Who" in warning or "Hope" in warning for warning in report.warnings)


def test_a_text_header_that_talks_of_people_is_named(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"ObjectType = Image\nPatientName = Doe\nNDims = 3\n\n")
    assert identifying_fields(tmp_path / "a.mha") == {"PatientName"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P001", "p001"),
        ("P001", "Ｐ００１"),
        ("007", "7"),
        ("12", "12.0"),
        ("p-1", "p\u20111"),
        ("'07", "07"),
        ("P-007", "P007"),
        ("P 007", "P007"),
    ],
)
def test_ids_that_differ_in_their_writing_alone_are_asked_about(one, other):
    said = "1 group of patients whose ids differ only in how they are written"
    assert any(said in text for text in doubts([seen(1, patient=one), seen(2, patient=other)]))
    assert not any(said in text for text in doubts([seen(1, patient=one), seen(2, patient=other, site="b")]))


def test_ids_of_other_people_are_not_asked_about():
    ids = ["p1", "p10", "p01x", "1.5", "15", "a-b", "ab", "1.0.1", "1"]
    warned = doubts([seen(number, patient=name) for number, name in enumerate(ids)])
    assert not any("how they are written" in text for text in warned)
