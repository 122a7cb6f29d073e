"""Whole runs of bags and series: from slides, folders of frames and tables to what a model looked at."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.runs.folder import RunFolder
from simulate.data.slides import write_slide
from tests.jobs import job_text

SITES, PATIENTS = ("a", "b", "c"), 5
GLASS, PINK, VIOLET = (243, 243, 243), (214, 150, 190), (110, 50, 140)
SLIDES: dict[str, Any] = {
    "task_name": "classification",
    "task_classes": ["normal", "tumour"],
    "task_stack": {"kind": "tiles", "features": 8},
    "model": {
        "encoder": {"name": "cnn", "channels": [8], "norm": "group"},
        "aggregator": {"name": "attention-mil", "attention": 8},
    },
    "data": {
        "channels": 3,
        "size": [16, 16],
        "mpp": 2.0,
        "intensity": "window",
        "window": [0.0, 255.0],
        "augment": ["flip"],
    },
    "job_rounds": 1,
}


def write_slides(folder: Path) -> Path:
    """Write slides of 96 x 96 pixels, pink on glass; half of them have a violet corner of 16 x 16."""
    rng, lines = np.random.default_rng(0), ["site,patient,split,tiles,label"]
    for site in SITES:
        for number in range(PATIENTS):
            pixels = np.full((96, 96, 3), GLASS, np.uint8)
            pixels[16:80, 16:80] = PINK
            if number % 2:
                pixels[48:64, 32:48] = VIOLET
            noise = rng.integers(-6, 7, pixels.shape)
            name = f"{site}{number}.tif"
            write_slide(folder / name, (pixels + noise).clip(0, 255).astype(np.uint8))
            split = "test" if number > 2 else "train"
            lines.append(f"{site},{site}{number},{split},{name},{('normal', 'tumour')[number % 2]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def simulated(cli: Any, folder: Path, hospitals: Path, **options: Any) -> RunFolder:
    (folder / "job.toml").write_text(job_text(**options))
    out = folder / "runs"
    said = cli("simulate", folder / "job.toml", "--data", hospitals, "--workers", "in-process", "--out", out)
    assert said.code == 0, said.err
    return RunFolder.read(next(out.glob("tiny-*")))


def test_a_model_of_slides_says_where_it_looked(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = write_slides(tmp_path / "data")
    run = simulated(cli, tmp_path, data, **SLIDES)
    assert 0 <= run.read_description()["test"]["federation"]["accuracy"] <= 1
    with Image.open(run.path / "rehearsal" / "best.png") as picture:  # four tiles side by side
        assert picture.width > 3 * picture.height

    said = cli("predict", run.path, "--data", data, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    attention: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows(tmp_path / "out" / "attention.csv"):
        attention[row["patient"]].append(row)
    grid = {(str(x), str(y), "16", "16") for x in range(16, 80, 16) for y in range(16, 80, 16)}
    for row in rows(tmp_path / "out" / "predictions.csv"):
        tiles = attention[row["patient"]]
        shares = [float(tile["attention"]) for tile in tiles]
        assert {(tile["x"], tile["y"], tile["width"], tile["height"]) for tile in tiles} == grid
        assert {tile["file"] for tile in tiles} == {f"{row['patient']}.tif"}
        assert int(row["instances"]) == len(tiles)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        slide = np.asarray(Image.open(data / f"{row['patient']}.tif").convert("RGB"), int)
        shown = np.asarray(Image.open(tmp_path / "out" / row["overlay"]), int)
        changed = [
            np.abs(shown - slide)[int(tile["y"]) :, int(tile["x"]) :][:16, :16].mean() for tile in tiles
        ]
        assert not np.abs(shown - slide)[:16].any()  # glass has none
        assert max(changed) > 20  # of 255, where most attention is
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "attention" in page


def test_series_of_frames_train_through_a_recurrent_network(cli: Any, tmp_path: Path) -> None:
    """A square moves to the right, or to the left: no frame tells which."""
    lines = ["site,patient,split,series,label"]
    for site in SITES:
        for number in range(PATIENTS):
            folder, right = tmp_path / "data" / f"{site}{number}", number % 2
            folder.mkdir(parents=True)
            for step in range(4):
                frame = np.zeros((16, 16), np.uint8)
                at = 4 * (step if right else 3 - step)
                frame[4:12, at : at + 4] = 255
                Image.fromarray(frame).save(folder / f"{step}.png")
            split = "test" if number > 2 else "train"
            lines.append(f"{site},{site}{number},{split},{folder.name},{('left', 'right')[right]}")
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    job = {
        "task_name": "classification",
        "task_classes": ["left", "right"],
        "task_stack": {"kind": "series", "features": 8},
        "model": {
            "encoder": {"name": "cnn", "channels": [8, 8], "norm": "group"},
            "aggregator": {"name": "gru", "features": 8, "attention": 4},
        },
        "data": {"size": [16, 16], "intensity": "minmax"},
        "job_rounds": 1,
    }
    run = simulated(cli, tmp_path, tmp_path / "data", **job)
    said = cli("predict", run.path, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert len(rows(tmp_path / "out" / "attention.csv")) == 4 * PATIENTS * len(SITES)
    assert all(row["file"].endswith(".png") for row in rows(tmp_path / "out" / "attention.csv"))
    assert {row["instances"] for row in rows(tmp_path / "out" / "predictions.csv")} == {"4"}
