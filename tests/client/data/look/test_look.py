"""What `wardround data look` shows."""

import base64
import hashlib
import io
import re
import stat
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from client.cli.data import data_app
from client.data.kinds.drawing import Drawing
from client.data.look.planes import Sample, planes
from client.data.look.tiles import tiles
from tests.jobs import job_text

NASTY = "<script>alert(1)</script>"


def job_of(side: int) -> str:
    return job_text(
        task_classes=["tumour & <more>"], data_size=[side, side], data_augment=["flip", "intensity"]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty patients of two sites; row 5 is the largest image, 6 the smallest, 7 has an empty mask."""
    data = tmp_path / "data"
    data.mkdir()
    rows = ["patient,image,mask,site,split"]
    for number in range(20):
        side = {3: 40, 4: 12}.get(number, 24)
        noise = np.random.default_rng(number).integers(0, 200, (side, side), np.uint8)
        mask = np.zeros((side, side), np.uint8)
        mask[2:8, 2 : 4 + number % 6] = 255 * (number != 5)
        Image.fromarray(noise).save(data / f"{number}.png")
        Image.fromarray(mask).save(data / f"m{number}.png")
        site = "north" if number < 12 else NASTY
        rows.append(f"p{number},{number}.png,m{number}.png,{site},{('train', 'val', 'test')[number % 3]}")
    (data / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "job.toml").write_text(job_of(24))
    return data


def look(folder: Path, out: str, *more: str) -> Result:
    job = ["--job", str(folder.parent / "job.toml")]
    return CliRunner().invoke(
        data_app, ["look", str(folder), *job, "--out", str(folder.parent / out), *more], terminal_width=200
    )


def shown(folder: Path, out: str, *more: str) -> str:
    result = look(folder, out, *more)
    assert result.exit_code == 0, result.output
    return (folder.parent / out / "look.html").read_text()


def card_of(text: str, row: int) -> str:
    return next(card for card in text.split("<article>") if f"<h3>Row {row}, " in card)


def pictures(text: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).astype(int) for one in found]


class Page(HTMLParser):
    """The tags of a page, the addresses that it names, and its content policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.attributes |= values.keys()
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""


@pytest.mark.parametrize("seed", ["0", "7"])
def test_the_extremes_of_a_site_are_there_whatever_is_drawn(folder: Path, seed: str) -> None:
    text = shown(folder, "out", "--seed", seed, "--images", "5")
    assert "largest image" in card_of(text, 5)
    assert "smallest image" in card_of(text, 6)
    assert "empty mask" in card_of(text, 7)
    assert "empty</dd>" in card_of(text, 7)
    north = text.split("<h2>")[1]
    assert north.count("<article>") == 5


def test_the_same_seed_gives_the_same_page_and_another_seed_other_images(folder: Path) -> None:
    first, second = shown(folder, "a", "--images", "6"), shown(folder, "b", "--images", "6")
    other = shown(folder, "c", "--images", "6", "--seed", "1")
    assert first == second
    assert (folder.parent / "a/contact-sheet.png").read_bytes() == (
        folder.parent / "b/contact-sheet.png"
    ).read_bytes()
    rows = [re.findall(r"<h3>Row (\d+)", text) for text in (first, other)]
    assert rows[0] != rows[1]


def test_nothing_comes_from_a_network_and_nothing_runs(folder: Path) -> None:
    page = Page(shown(folder, "out"))
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy


def test_the_policy_allows_the_pages_own_style_and_no_other(folder: Path) -> None:
    text = shown(folder, "out")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in Page(text).policy


def test_names_are_text_whatever_they_say(folder: Path) -> None:
    text = shown(folder, "out")
    assert NASTY not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "tumour &amp; &lt;more&gt;" in text


def test_only_their_owner_can_read_the_files(folder: Path) -> None:
    shown(folder, "out")
    out = folder.parent / "out"
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert sorted(file.name for file in out.iterdir()) == ["contact-sheet.png", "look.html"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in out.iterdir()} == {0o600}


def test_nothing_is_written_over(folder: Path) -> None:
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "look.html").write_text("mine")
    result = look(folder, "out")
    assert result.exit_code != 0
    assert "exists already" in str(result.exception)
    assert (folder.parent / "out" / "look.html").read_text() == "mine"
    assert sorted(file.name for file in folder.parent.iterdir()) == ["data", "job.toml", "out"]


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    result = look(folder, "results/out")
    assert result.exit_code != 0
    assert "the folder in which it would lie is not there" in str(result.exception)
    assert f"mkdir -p {folder.parent / 'results'}" in str(result.exception)


def test_what_the_check_finds_comes_before_the_images(folder: Path) -> None:
    (folder / "2.png").unlink()
    (folder / "8.png").write_bytes((folder / "7.png").read_bytes())
    text = shown(folder, "out")
    before = text.split("<article>")[0]
    assert "2.png" in before
    assert "missing" in before
    assert "of equal images" in before
    assert "<h3>Row 4," not in text


def test_a_target_that_resizing_lost_is_said(folder: Path) -> None:
    dot = np.zeros((24, 24), np.uint8)
    dot[9, 9] = 255  # shrunk by three, the middle of each block counts
    Image.fromarray(dot).save(folder / "m0.png")
    (folder.parent / "job.toml").write_text(job_of(8))
    text = shown(folder, "out", "--images", "20")
    assert "nothing of its target is left" in card_of(text, 2)
    assert "nothing of its target is left" not in card_of(text, 3)


def test_the_outline_lies_on_the_target_before_and_after_augmentation(folder: Path) -> None:
    for number in range(20):  # a bright square on black, which is its own target
        picture = np.zeros((24, 24), np.uint8)
        picture[3:9, 5:15] = 250
        picture[0, 0] = number
        Image.fromarray(picture).save(folder / f"{number}.png")
        Image.fromarray((picture > 100).astype(np.uint8)).save(folder / f"m{number}.png")
    drawn = pictures(shown(folder, "out"))
    assert drawn
    mirrored = 0
    for picture in drawn:
        outline = np.argwhere((picture.max(axis=2) - picture.min(axis=2)) > 100)
        square = np.argwhere(picture.min(axis=2) > 200)
        assert (np.abs(outline.min(axis=0) - square.min(axis=0)) <= 2).all()
        assert (np.abs(outline.max(axis=0) - square.max(axis=0)) <= 2).all()
        mirrored += bool(outline[:, 0].mean() > picture.shape[0] / 2)
    assert mirrored


@pytest.mark.parametrize("codes", [("R", "A", "S"), ("L", "P", "S"), ("I", "R", "A")])
def test_marks_and_sides_of_a_volume_are_right_however_it_was_stored(tmp_path: Path, codes: tuple) -> None:
    """A volume that is bright at the patient's right, front and head shows so at the marks R, A and S."""
    ramp = np.zeros((20, 24, 16), np.float32)
    ramp += np.linspace(0, 1, 20)[:, None, None] * (np.arange(20) >= 10)[:, None, None]
    volume = nibabel.Nifti1Image(ramp, np.diag([2.0, 1.0, 3.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    volume.as_reoriented(turn).to_filename(tmp_path / "v.nii.gz")
    (tmp_path / "manifest.csv").write_text("patient,image,split\np,v.nii.gz,train\n")
    out = tmp_path / "out"
    result = CliRunner().invoke(data_app, ["look", str(tmp_path), "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = (out / "look.html").read_text()
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert [caption.split(",")[1].strip() for caption in captions] == ["axial", "coronal", "sagittal"]
    axial, coronal, _ = text.split("</figure>")[:3]
    for figure, up in ((axial, "A"), (coronal, "S")):
        assert f'class="top" title="the patient\'s {"front" if up == "A" else "head"}">{up}<' in figure
        assert re.search(r'class="left"[^>]*>R<', figure)
        picture = pictures(figure)[0]
        assert picture[:, :10].mean() > picture[:, -10:].mean() + 100  # R lies on the left
    tall, wide = pictures(axial)[0].shape[:2], pictures(coronal)[0].shape[:2]
    assert tall[0] / tall[1] == pytest.approx(24 / 40, abs=0.03)  # in mm, not in voxels
    assert wide[0] / wide[1] == pytest.approx(48 / 40, abs=0.03)


def test_the_outline_lies_on_the_target_in_every_plane_of_a_volume(tmp_path: Path) -> None:
    block = np.zeros((20, 24, 16), np.uint8)
    block[2:7, 12:22, 3:6] = 1
    nibabel.Nifti1Image(block * np.float32(100), np.eye(4)).to_filename(tmp_path / "v.nii")
    affine = np.diag([-1.0, 1.0, -1.0, 1.0])
    affine[:3, 3] = 19, 0, 15
    nibabel.Nifti1Image(block[::-1, :, ::-1], affine).to_filename(tmp_path / "m.nii")
    (tmp_path / "manifest.csv").write_text("patient,image,mask,split\np,v.nii,m.nii,train\n")
    result = CliRunner().invoke(data_app, ["look", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    drawn = pictures((tmp_path / "out" / "look.html").read_text())
    assert len(drawn) == 3
    for picture in drawn:
        outline = np.argwhere((picture.max(axis=2) - picture.min(axis=2)) > 100)
        target = np.argwhere(picture.max(axis=2) > 60)  # inside it is white, its border is coloured
        assert outline.min(axis=0).tolist() == target.min(axis=0).tolist()
        assert outline.max(axis=0).tolist() == target.max(axis=0).tolist()
        white = np.argwhere(picture.min(axis=2) > 200)
        assert (white.min(axis=0) - outline.min(axis=0) == 2).all()
        assert (outline.max(axis=0) - white.max(axis=0) == 2).all()


def test_without_a_job_the_values_of_masks_are_outlined(folder: Path) -> None:
    out = folder.parent / "out"
    result = CliRunner().invoke(data_app, ["look", str(folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = (out / "look.html").read_text()
    assert "</svg>255</li>" in text
    assert "<figcaption>augmented" not in text


def test_the_check_says_how_to_look(folder: Path) -> None:
    job = str(folder.parent / "job.toml")
    answer = CliRunner().invoke(data_app, ["check", str(folder), "--job", job])
    assert f"wardround data look {folder} --job {job}" in answer.stdout


def test_the_packs_can_be_looked_at(data_pack: Callable[[str], Path], tmp_path: Path) -> None:
    jobs = Path(__file__).parents[4] / "configs" / "jobs"
    pack = str(data_pack("hippocampus_nifti"))
    options = ["--job", str(jobs / "hippocampus.toml"), "--images", "2", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(data_app, ["look", pack, *options])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "look.html").read_text()
    assert text.count("<article>") == 8
    assert text.count("<img ") == 8 * 6  # three planes, prepared and augmented


def test_boxes_are_drawn_where_they_are_and_counted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = ["patient,image,boxes,split"]
    for number, cell in enumerate(('"[[4, 8, 12, 16, ""a""], [20, 2, 24, 6, ""b""]]"', "")):
        Image.fromarray(np.full((32, 32), 90, np.uint8)).save(data / f"{number}.png")
        rows.append(f"p{number},{number}.png,{cell},train")
    (data / "manifest.csv").write_text("\n".join(rows))
    job = job_text(task_name="detection", task_classes=["a", "b"], data_size=[32, 32], data_augment=[])
    (tmp_path / "job.toml").write_text(job)
    text = shown(data, "seen")
    assert "a 1, b 1" in text
    assert "no boxes" in text
    with_boxes, without = (pictures(card_of(text, row))[0] for row in (2, 3))
    assert with_boxes.shape[:2] == (160, 160)  # five pixels to one of the file
    for colour, left, top, right, bottom in (((230, 159, 0), 4, 8, 12, 16), ((86, 180, 233), 20, 2, 24, 6)):
        rows, columns = (np.nonzero((with_boxes == colour).all(axis=2).any(axis=axis))[0] for axis in (1, 0))
        assert (rows.min(), rows.max()) == (5 * top, 5 * bottom - 1)
        assert (columns.min(), columns.max()) == (5 * left, 5 * right - 1)
    assert len(np.unique(without)) == 1


def test_the_planes_of_a_volume_show_the_boxes_that_they_cut(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    volume = np.zeros((16, 20, 24), np.uint8)
    volume[3:7, 10:16, 4:12] = 200
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1, 1, 1])), data / "a.nii.gz")
    cell = '"[[3, 10, 7, 16, 4, 12]]"'
    (data / "manifest.csv").write_text(f"patient,image,boxes,split\np,a.nii.gz,{cell},train")
    shape = {"data_size": [16, 20, 24], "data_dimensions": 3, "data_augment": []}
    (tmp_path / "job.toml").write_text(job_text(task_name="detection", task_most_boxes=5, **shape))
    for picture in pictures(shown(data, "seen"))[:3]:
        frame = (picture == (230, 159, 0)).all(axis=2)
        rows, columns = (np.nonzero(frame.any(axis=axis))[0] for axis in (1, 0))
        inside = picture[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()]
        outside = picture[~frame].sum() - inside.sum()
        assert (inside == 255).all()
        assert outside == 0


def test_points_are_crosses_in_the_planes_in_which_they_lie() -> None:
    """Each in the colour of its row; one that was moved out of the image is not a number."""
    places = np.array([[2.5, 3.5, 6.5], [np.nan] * 3, [2.5, 9.5, 6.5]], np.float32)
    sample = Sample(np.zeros((1, 8, 12, 16), np.float32), (Drawing(points=places),))
    drawn = [np.asarray(tile.picture) for tile in tiles(planes(sample, None), (0.0, 1.0))]
    first, third = (230, 159, 0), (240, 228, 66)
    axial, coronal, sagittal = ({tuple(pixel) for pixel in one.reshape(-1, 3).tolist()} for one in drawn)
    assert {first, third} <= axial & sagittal
    assert first in coronal
    assert third not in coronal
    row, column = (int(axis.mean()) for axis in np.nonzero((drawn[0] == first).all(axis=2)))
    scale = 160 / 16
    assert abs(row - scale * (12 - 3.5)) <= 1
    assert abs(column - scale * (8 - 2.5)) <= 1
