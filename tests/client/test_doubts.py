"""What a good statistician would ask about a dataset before anybody trains on it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from client.data.check import Expected, check_dataset
from client.data.doubts import Seen, doubts, wilson
from client.data.fingerprints import fingerprint, has_burned_in_text, near_pairs
from client.data.manifest import Record
from client.data.splits import CohortKey, Split

SPLIT = Split(CohortKey.drawn(0))
PRINTS = [fingerprint(np.random.default_rng(number).random((1, 32, 32))) for number in range(400)]


def seen(number: int, **facts: object) -> Seen:
    made = {
        "site": "a",
        "patient": f"p{number}",
        "side": "train",
        "label": "x",
        "content": f"c{number}",
        **facts,
    }
    record = Record(number, str(made["patient"]), (Path(f"{number}.png"),), site=str(made["site"]))
    return Seen(
        record,
        str(made["side"]),
        str(made["content"]),
        PRINTS[number],
        (str(made["label"]),),
        False,
        (False,),
    )


def said(rows: list[Seen]) -> str:
    return "\n".join(doubts(rows))


def test_a_label_that_the_site_tells_is_said_with_its_figure():
    rows = [seen(i, site="ab"[i % 2], label="x" if (i % 2 == 0) == (i % 10 > 0) else "y") for i in range(100)]
    assert "the site alone tells 'x' with AUROC 0.92" in said(rows)
    even = [seen(i, site="ab"[i % 2], label="xy"[i // 2 % 2]) for i in range(100)]
    assert "the site alone" not in said(even)


def test_chance_alone_rarely_makes_a_site_tell():
    told = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        rows = [
            seen(i, site="ab"[generator.integers(2)], label="xy"[generator.integers(2)]) for i in range(40)
        ]
        told += "the site alone" in said(rows)
    assert told <= 9  # three in a hundred


def test_one_class_at_a_site_and_contradictions_are_named():
    rows = [
        seen(1),
        seen(2, site="b"),
        seen(3, site="b", label="y"),
        seen(4, content="c3", label="x", site="b"),
    ]
    text = said(rows)
    assert "one class only at site a ('x')" in text
    assert "equal images with different labels: rows 3 and 4" in text


def test_a_small_test_says_how_little_it_can_show():
    text = said([seen(i, side="test") for i in range(22)])
    low, high = wilson(18, 22)
    assert (
        f"the test has 22 patients: an accuracy of 0.80 on them may be anything from {low:.2f} to {high:.2f}"
        in text
    )
    assert "the test has" not in said([seen(i, side="test") for i in range(400)])


def test_copies_are_found_whatever_was_done_to_them():
    generator = np.random.default_rng(1)
    scenes = [
        np.kron(generator.random((8, 8)), np.ones((16, 16))) + 0.02 * generator.random((128, 128))
        for _ in range(20)
    ]
    changed = [scene * 0.5 + 10 + 0.01 * generator.random(scene.shape) for scene in scenes[:3]]
    small = [np.asarray(Image.fromarray(np.float32(scene)).resize((100, 100))) for scene in scenes[3:5]]
    prints = [fingerprint(one[None]) for one in [*scenes, *changed, *small]]
    assert near_pairs(prints) == [(0, 20), (1, 21), (2, 22), (3, 23), (4, 24)]


def test_text_in_the_border_is_noticed_and_a_head_is_not():
    y, x = np.mgrid[:256, :256]
    head = (((y - 128) ** 2 + (x - 128) ** 2 < 90**2) * 120).astype(np.uint8)
    written = Image.fromarray(head)
    ImageDraw.Draw(written).text((6, 6), "DOE JANE 1950-01-02", fill=255)
    assert has_burned_in_text(np.asarray(written, np.float32)[None])
    assert not has_burned_in_text(head[None].astype(np.float32))


def test_fields_that_identify_are_counted_by_name_and_never_shown(tmp_path):
    exif = Image.Exif()
    exif[315] = "Dr Who"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20), np.uint8)).save(
        tmp_path / "a.jpg", exif=exif
    )
    (tmp_path / "manifest.csv").write_text("patient,image,split\np1,a.jpg,train\n")
    report = check_dataset(tmp_path, Expected(), split=SPLIT)
    assert "fields in headers that may identify somebody: artist (1)" in report.warnings
    assert not any("Who" in warning for warning in report.warnings)
