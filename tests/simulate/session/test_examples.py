"""Example images: the plane with the structure, both outlines, and the right ones of all sites."""

import io

import numpy as np
from PIL import Image

from shared.tasks.look import Look, Shown
from simulate.session.examples import Example, chosen, drawn


def coloured(png: bytes) -> list[int]:
    """Return the columns that have a pixel which is not grey."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return np.flatnonzero((pixels.max(axis=2) - pixels.min(axis=2) > 40).any(axis=0)).tolist()


def test_a_volume_is_shown_where_its_structure_is() -> None:
    image = np.random.default_rng(0).normal(size=(1, 24, 20, 9)).astype(np.float32)
    mask = np.zeros((24, 20, 9), np.uint8)
    mask[4:12, 5:14, 7] = 1
    nothing = np.zeros_like(mask)
    columns = coloured(drawn(image, Look(0.0, "", mask, nothing), (1.0, 1.0, 2.0)))
    width = Image.open(io.BytesIO(drawn(image, Look(0.0, "", mask, nothing), None))).width
    assert columns
    assert max(columns) < width / 2  # nothing was predicted
    columns = coloured(drawn(image, Look(0.0, "", nothing, mask), None))
    assert columns == []  # the plane follows what is true


def test_boxes_of_a_picture_are_framed() -> None:
    image = np.zeros((3, 30, 40), np.float32)
    boxes = np.array([[4, 5, 20, 25, 0]], np.float32)
    png = drawn(image, Look(1.0, "", true_boxes=boxes, found_boxes=boxes[:0]), None)
    assert coloured(png)


def test_an_image_without_anything_to_draw_stands_alone() -> None:
    image = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    assert Image.open(io.BytesIO(drawn(image, Look(0.5, "true: a; the model: b"), None))).size == (160, 160)


def test_the_best_and_the_worst_are_of_all_sites() -> None:
    def own(site: str, *scores: float) -> dict[str, Example]:
        ranks = ("best", "median", "worst")
        return {rank: Example(site, score, "", b"") for rank, score in zip(ranks, scores, strict=True)}

    found = chosen([own("a", 0.9, 0.5, 0.1), own("b", 0.8, 0.6, 0.0), {}, own("c", 0.7, 0.55, 0.2)])
    assert {rank: one.site for rank, one in found.items()} == {"best": "a", "median": "c", "worst": "b"}
    assert chosen([{}, {}]) == {}


def test_answers_that_are_images_stand_side_by_side_in_one_brightness() -> None:
    image = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (1, 16, 1))
    shown = tuple(
        Shown(title, image * scale) for title, scale in (("noisy", 1), ("restored", 0.5), ("true", 1))
    )
    sheet = Image.open(io.BytesIO(drawn(image, Look(1.0, "", pictures=shown), None))).convert("L")
    alone = Image.open(io.BytesIO(drawn(image, Look(1.0, ""), None)))
    assert sheet.width > 3 * alone.width
    brightest = [np.asarray(sheet)[20:, start : start + 160].max() for start in (0, 168, 336)]
    assert brightest[0] == brightest[2] > brightest[1] + 100
