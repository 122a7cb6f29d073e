"""Tiles that are cut from whole slides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from client.data.check.identifying_headers import identifying_fields
from client.data.formats.slides import open_slide
from client.data.images.file_hash import content_hash
from client.data.kinds import Kind, make_kinds
from client.data.kinds.row_images import NOTHING
from client.data.kinds.tally import Tally
from client.data.look.stacks import stack_facts, stack_pictures
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.tasks.fields import Field
from tests.client.data.kinds.slide_files import (
    GLASS,
    STAIN,
    aperio,
    cut,
    dicom,
    jpeg,
    jpeg_2000,
    packed,
    pixels,
    pyramid,
)
from tests.jobs import make_job

Writer = Callable[[Path], Path]
WRITERS = {
    "pyramid.tif": pyramid,
    "pages.tif": lambda path: pyramid(path, within=False),
    "differences.tif": lambda path: pyramid(path, predictor=2),
    "strips.tif": lambda path: pyramid(path, tile=None, rowsperstrip=60),
    "aperio.svs": aperio,
    "dicom": dicom,
}


def tiles_of(seed: int = 0, **data: Any) -> Kind:
    options = {"size": [32, 32], "channels": 3, "intensity": "none", "mpp": 0.5, **data}
    table = make_job(task_name="classification", data_size=options["size"]).data.model_copy(update=options)
    return make_kinds({"tiles": Field("tiles")}, table, seed)["tiles"]


def row(path: Path) -> Record:
    return Record(2, "p", (), cells={"tiles": path.name}, folder=path.parent)


@pytest.mark.parametrize("name", WRITERS)
def test_tiles_with_tissue_are_cut_at_the_resolution_of_the_job(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path / name)
    whole = pixels().transpose(2, 0, 1)
    found = tiles_of().read(row(path), NOTHING)
    assert found.shape == (64, 3, 32, 32)  # the tissue is 256 x 256 of 512 x 512 pixels
    assert (found[0] == whole[:, 128:160, 128:160]).all()
    assert (found[9] == whole[:, 160:192, 160:192]).all()
    coarse = tiles_of(mpp=1.0).read(row(path), NOTHING)  # the second level
    assert coarse.shape == (16, 3, 32, 32)
    between = tiles_of(mpp=0.8).read(row(path), NOTHING)  # the first, resampled
    assert np.abs(between[:, :, 16, 16].mean(axis=0) - STAIN).max() < 40


@pytest.mark.parametrize("name", WRITERS)
def test_a_part_is_the_same_wherever_its_tiles_lie(tmp_path: Path, name: str) -> None:
    with open_slide(WRITERS[name](tmp_path / name)) as slide:
        assert len(slide.levels) == 2 + name.endswith(".tif")
        level = slide.levels[0]
        assert (slide.read(level, 0, 0, 512, 512) == pixels()).all()
        for top, left, rows, columns in ((100, 37, 91, 200), (448, 511, 64, 1), (0, 0, 1, 1)):
            part = pixels()[top : top + rows, left : left + columns]
            assert (slide.read(level, top, left, rows, columns) == part).all()


def test_the_seed_draws_tiles_and_the_same_seed_the_same(tmp_path: Path) -> None:
    record = row(pyramid(tmp_path / "a.tif"))
    first, again, other = (tiles_of(seed, tiles=10).read(record, NOTHING) for seed in (1, 1, 2))
    assert len(first) == 10
    assert (first == again).all()
    assert not (first == other).all()
    assert tiles_of(1, tiles=10).draws
    assert not tiles_of().draws


def test_the_check_says_what_is_read(tmp_path: Path) -> None:
    tally = Tally()
    tiles_of(mpp=1.0).describe(row(pyramid(tmp_path / "a.tif", iccprofile=b"profile")), tally)
    text = "\n".join(tally.lines())
    assert "micrometres per pixel of that level: 1 to 1" in text
    assert "tiles with tissue of a slide: 16 to 16" in text
    assert "tissue of a slide, %: 25" in text
    assert "slides read from level 1, of 3 (1)" in text
    assert "a colour profile (ICC), which is not applied (1)" in text


def without_transform(tile: Any) -> bytes:
    """Return a JPEG whose channels are RGB, and that does not say so, as some scanners write it."""
    content = jpeg(tile, keep_rgb=True)
    at = content.index(b"\xff\xee")
    return content[:at] + content[at + 16 :]


@pytest.mark.parametrize(
    ("pack", "packing", "colours"),
    [
        (jpeg, 7, 6),
        (without_transform, 7, 2),
        (jpeg_2000, 33005, 2),
        (lambda tile: jpeg_2000(np.asarray(Image.fromarray(tile).convert("YCbCr"))), 33003, 6),
    ],
    ids=["YCbCr", "RGB", "JPEG 2000", "JPEG 2000 in YCbCr"],
)
def test_packed_tiles_have_the_colours_that_the_file_says(
    tmp_path: Path, pack: Callable[[Any], bytes], packing: int, colours: int
) -> None:
    path = packed(tmp_path / "a.tif", [pack(tile) for tile in cut(pixels())], packing, colours)
    with open_slide(path) as slide:
        read = slide.read(slide.levels[0], 0, 0, 512, 512).astype(int)
    assert np.abs(read - pixels()).max() <= 12
    assert np.abs(read - pixels()).mean() < 2


def test_jpeg_in_dicom_becomes_rgb(tmp_path: Path) -> None:
    with open_slide(dicom(tmp_path / "d", lossy=True)) as slide:
        read = slide.read(slide.levels[0], 0, 0, 512, 512).astype(int)
    assert np.abs(read - pixels()).max() <= 12
    assert np.abs(read - pixels()).mean() < 2


def test_a_tile_that_is_not_there_is_white(tmp_path: Path) -> None:
    tiles = [jpeg(tile) for tile in cut(pixels())]
    path = packed(tmp_path / "a.tif", [*tiles[:-1], b""], 7, 6)
    with open_slide(path) as slide:
        assert (slide.read(slide.levels[0], 460, 460, 52, 52) == 255).all()
    path = packed(tmp_path / "b.tif", [*tiles[:-1], jpeg(pixels()[:128, :128])], 7, 6)
    with open_slide(path) as slide, pytest.raises(DataError, match="has a tile of"):
        slide.read(slide.levels[0], 460, 460, 52, 52)


def test_what_cannot_be_cut_is_refused_with_the_reason(tmp_path: Path) -> None:
    fine = pyramid(tmp_path / "a.tif")
    for kind, path, said in (
        (tiles_of(mpp=0.1, size=[8, 8]), fine, "was scanned at 0.5 micrometres"),
        (tiles_of(size=[400, 400]), fine, "has no tile of 400 x 400"),
        (tiles_of(), pyramid(tmp_path / "b.tif", mpp=350), "does not say how large its pixels are"),
        (tiles_of(channels=1), fine, "has 3 channels, but the job wants 1"),
        (tiles_of(mpp=None), aperio(tmp_path / "d.svs"), r"\[data\] mpp"),
    ):
        with pytest.raises(DataError, match=said):
            kind.read(row(path), NOTHING)
    (tmp_path / "e.png").write_bytes(b"")
    (tmp_path / "f").mkdir()
    for name, said in (("e.png", "not a whole slide that is read"), ("f", "holds no whole slide")):
        with pytest.raises(DataError, match=said):
            tiles_of().read(row(tmp_path / name), NOTHING)
    half = tmp_path / "g.tif"
    half.write_bytes(fine.read_bytes()[: fine.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut short|can't be read"):
        tiles_of().read(row(half), NOTHING)


def test_a_folder_holds_each_level_of_one_slide_once(tmp_path: Path) -> None:
    folder = dicom(tmp_path / "d")
    (folder / "copy.dcm").write_bytes((folder / "1.dcm").read_bytes())
    with pytest.raises(DataError, match="holds a level twice"):
        tiles_of().read(row(folder), NOTHING)
    other = dicom(tmp_path / "other")
    (folder / "copy.dcm").write_bytes((other / "1.dcm").read_bytes())
    with pytest.raises(DataError, match="holds slides of 2 series"):
        tiles_of().read(row(folder), NOTHING)


def test_grey_is_the_luminance_and_a_key_names_the_content(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif")
    grey = tiles_of(channels=1, colour="grey").read(row(path), NOTHING)
    assert grey.shape == (64, 1, 32, 32)
    assert tiles_of().source(row(path)) == content_hash(path)


def test_labels_are_never_read_and_headers_are_named(tmp_path: Path) -> None:
    found = identifying_fields(aperio(tmp_path / "a.svs"))
    assert {"picture of the label", "picture of the glass", "text 'Filename'"} <= found
    assert {"picture of the label", "PatientName"} <= identifying_fields(dicom(tmp_path / "d"))


def test_a_slide_is_looked_at_with_its_tiles_marked(tmp_path: Path) -> None:
    kind = tiles_of(tiles=5)
    shown, values = stack_pictures(row(aperio(tmp_path / "a.svs")), kind)
    assert [one.title for one in shown] == [
        "5 tiles of 64 with tissue",
        *(f"tile {number} of 5" for number in range(1, 6)),
    ]
    slide = np.asarray(shown[0].picture).astype(int)
    assert np.abs(slide[2, 2] - GLASS).max() <= 2
    assert np.abs(slide[80, 80] - STAIN).max() > 20  # marked
    assert dict(stack_facts(values, kind))["spacing"] == "0.5 µm"


@pytest.mark.parametrize("name", ["pyramid.tif", "aperio.svs", "dicom"])
def test_a_damaged_slide_ends_in_tiles_or_a_reason_and_nothing_is_printed(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = WRITERS[name](tmp_path / name)
    file = path / "0.dcm" if path.is_dir() else path
    whole, rng, ends = file.read_bytes(), np.random.default_rng(0), {"tiles": 0, "reason": 0}
    for _ in range(15):
        damaged = bytearray(whole)
        for at in (*rng.integers(0, 2000, 3), *(len(whole) - rng.integers(1, 2000, 3))):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            ends["tiles"] += tiles_of(tiles=2).read(row(path), NOTHING).shape == (2, 3, 32, 32)
        except DataError:
            ends["reason"] += 1
    assert sum(ends.values()) == 15
    assert ends["reason"]
    assert capfd.readouterr() == ("", "")
