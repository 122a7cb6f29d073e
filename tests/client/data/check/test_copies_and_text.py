"""Copies are found whatever was done to them, and text in pictures; other images are left in peace."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from client.data.check.burned_in_text import TextFinder, tesseract
from client.data.check.fingerprints import fingerprint, near_pairs

Picture = NDArray[np.float32]


def array(image: Image.Image) -> Picture:
    values = np.asarray(image, dtype=np.float32)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def pictures(pack: Path, step: int = 1) -> list[tuple[str, Image.Image]]:
    """Return patient and image of every `step`th row of a pack."""
    with (pack / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::step]
    return [(row["patient"], Image.open(pack / row["image"])) for row in rows]


def saved_anew(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream)


def shaded(image: Image.Image) -> Image.Image:
    return image.point(lambda value: value * 0.7 + 20)


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def test_copies_are_found_whatever_was_done_to_them():
    generator = np.random.default_rng(1)
    scenes = [np.kron(generator.random((8, 8)), np.ones((16, 16))) for _ in range(20)]
    changed = [scene * 0.5 + 10 + 0.01 * generator.random(scene.shape) for scene in scenes[:3]]
    small = [np.asarray(Image.fromarray(np.float32(scene)).resize((100, 100))) for scene in scenes[3:5]]
    prints = [fingerprint(one[None]) for one in [*scenes, *changed, *small]]
    assert near_pairs(prints) == [(0, 20), (1, 21), (2, 22), (3, 23), (4, 24)]


def test_a_copy_of_a_volume_is_found_by_its_middle():
    volume = np.random.default_rng(0).random((1, 40, 40, 9))
    other = np.random.default_rng(1).random((1, 40, 40, 9))
    assert near_pairs([fingerprint(one) for one in (volume, other, volume * 2 + 1)]) == [(0, 2)]


def test_an_image_without_anything_in_it_is_no_copy():
    assert fingerprint(np.zeros((1, 16, 16))) is None
    assert near_pairs([None, None]) == []


@pytest.mark.parametrize(
    ("name", "most"),
    [("ultrasound_busi", 3), ("brain_lgg_5sites_2d", 0), ("retina_drive_2raters", 1), ("detection_bccd", 0)],
)
def test_in_real_packs_few_patients_are_taken_for_each_other_and_copies_are_found(
    data_pack: Callable[[str], Path], name: str, most: int
) -> None:
    found = pictures(data_pack(name), 2)
    prints = [fingerprint(array(image)) for _, image in found]
    pairs = [pair for pair in near_pairs(prints) if found[pair[0]][0] != found[pair[1]][0]]
    assert len(pairs) <= most
    chosen = range(0, len(found), len(found) // 20)
    for change in (saved_anew, shaded, halved):
        copies = [fingerprint(array(change(found[index][1]))) for index in chosen]
        alike = set(near_pairs([*prints, *copies]))
        hits = sum((index, len(prints) + number) in alike for number, index in enumerate(chosen))
        assert hits >= 0.85 * len(chosen), change


def written(image: Image.Image, text: str, place: tuple[int, int], size: int) -> Image.Image:
    copy = image.copy()
    fill = 255 if copy.mode == "L" else (255,) * len(copy.getbands())
    ImageDraw.Draw(copy).text(place, text, fill, ImageFont.load_default(size))
    return copy


@pytest.mark.parametrize("size", [12, 16, 24])
@pytest.mark.parametrize("place", [(6, 6), (60, 220)])
def test_text_is_noticed_anywhere_and_a_head_is_not_text(size, place):
    y, x = np.mgrid[:256, :256]
    head = Image.fromarray((((y - 128) ** 2 + (x - 128) ** 2 < 90**2) * 120).astype(np.uint8))
    assert TextFinder().finds([array(written(head, "DOE JANE 1950", place, size))])
    assert not TextFinder().finds([array(head)])


def test_dark_letters_on_a_bright_ground_are_text_too():
    ground = Image.new("L", (200, 200), 230)
    ImageDraw.Draw(ground).text((20, 20), "DOE JANE 1950", 10, ImageFont.load_default(16))
    assert TextFinder().finds([array(ground)])


def test_text_in_ultrasound_is_found(data_pack):
    finder = TextFinder()
    images = enumerate(pictures(data_pack("ultrasound_busi"), 3))
    surely = {place for place, (_, image) in images if finder.look(place, array(image))}
    assert 24 <= len(surely | finder.read()) <= 30  # LEFT BREAST, RT AXILLA and so on


@pytest.mark.parametrize(
    ("name", "step"), [("skin_ham_4sites", 10), ("brain_lgg_5sites_2d", 5), ("retina_drive_2raters", 4)]
)
def test_where_there_is_no_text_none_is_found_and_what_is_drawn_is(data_pack, name, step):
    images = [image for _, image in pictures(data_pack(name), step)]
    finder = TextFinder()
    assert not finder.finds(array(image) for image in images)
    dark = [image for image in images if np.asarray(image)[:26, :110].mean() < 60]
    drawn = [written(image, "DOE JANE 1950", (4, 4), 14) for image in dark]
    surely = {place for place, image in enumerate(drawn) if finder.look(place, array(image))}
    assert len(surely | finder.read()) >= 0.8 * len(drawn)


@pytest.mark.skipif(tesseract() is None, reason="tesseract is not installed")
def test_tesseract_reads_what_has_too_few_letters_to_be_sure_of():
    ground = Image.new("L", (300, 200), 20)
    ImageDraw.Draw(ground).text((40, 60), "DOE", 240, ImageFont.load_default(24))
    assert TextFinder().finds([array(ground)])


def test_a_broken_tesseract_changes_nothing(tmp_path, monkeypatch):
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    tesseract.cache_clear()
    ground = Image.new("L", (300, 200), 20)
    ImageDraw.Draw(ground).text((40, 60), "DOE", 240, ImageFont.load_default(24))
    assert not TextFinder().finds([array(ground)])
    tesseract.cache_clear()
