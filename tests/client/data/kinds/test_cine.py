"""Frames in time: DICOM cines, and which frames of a series are taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from client.data.check.burned_in_text import TextFinder
from client.data.check.other_fields import has_text
from client.data.kinds import Kind, make_kinds
from client.data.kinds.row_images import NOTHING
from client.data.kinds.tally import Tally
from client.data.manifest.rows import Record
from shared.errors import DataError
from shared.tasks.fields import Field
from tests.client.data.formats.dicom_files import written
from tests.jobs import make_job

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.3.1"
FRAMES = np.stack([np.full((8, 8), 10 * number, np.uint16) for number in range(8)])
VECTOR = 0x00181065  # FrameTimeVector


def series_of(**data: Any) -> Kind:
    options = {"size": [8, 8], "intensity": "none", **data}
    table = make_job(task_name="classification", data_size=[8, 8]).data.model_copy(update=options)
    return make_kinds({"series": Field("series")}, table)["series"]


def cine(path: Path, pixels: Any = FRAMES, **tags: Any) -> Record:
    written(path, pixels, kind=ULTRASOUND, NumberOfFrames=len(pixels), **tags)
    return Record(2, "p", (), cells={"series": path.name}, folder=path.parent)


def numbers(kind: Kind, record: Record) -> list[int]:
    return [round(float(frame[0, 0, 0]) / 10) for frame in kind.read(record, NOTHING)]


def test_a_cine_is_a_series_of_the_frames_that_the_job_wants(tmp_path: Path) -> None:
    record = cine(tmp_path / "a.dcm", FrameTime=40)
    assert series_of().read(record, NOTHING).shape == (8, 1, 8, 8)
    assert numbers(series_of(), record) == list(range(8))
    assert numbers(series_of(frame_step=3), record) == [0, 3, 6]
    assert numbers(series_of(frames=2), record) == [0, 7]
    assert numbers(series_of(frames=1), record) == [0]
    with pytest.raises(DataError, match="has 8 frames, and the job wants 9"):
        numbers(series_of(frames=9), record)


def test_frames_are_spread_over_time_not_over_numbers(tmp_path: Path) -> None:
    gaps = [0, 10, 10, 10, 10, 10, 10, 60]
    record = cine(tmp_path / "a.dcm", FrameTimeVector=gaps, FrameIncrementPointer=VECTOR)
    assert numbers(series_of(frames=3), record) == [0, 6, 7]
    with pytest.raises(DataError, match="so unevenly apart"):
        numbers(series_of(frames=7), record)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"FrameTime": 40}, "milliseconds between frames: 40 to 40"),
        ({"CineRate": 25}, "milliseconds between frames: 40 to 40"),
        ({}, "do not say when their frames were taken"),
        ({"FrameTimeVector": [0, 1, 1, 1, 1, 1, 1, 9]}, "not evenly apart"),
    ],
    ids=["time", "rate", "none", "vector"],
)
def test_the_check_says_the_times(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    tally = Tally()
    series_of().describe(cine(tmp_path / "a.dcm", **tags), tally)
    text = "\n".join(tally.lines())
    assert "frames of a cine: 8 to 8" in text
    assert said in text


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"FrameTimeVector": [0, 1]}, "8 frames and 2 times"),
        ({"FrameTimeVector": [0, 1, 1, 0, 1, 1, 1, 1]}, "after 0 ms"),
        ({"FrameIncrementPointer": 0x00540010}, "frames that are not moments"),
    ],
    ids=["few", "none", "detectors"],
)
def test_frames_that_are_not_moments_are_refused(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        numbers(series_of(), cine(tmp_path / "a.dcm", **tags))


def test_values_mean_what_those_of_one_picture_mean(tmp_path: Path) -> None:
    negative = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 8}
    found = series_of().read(cine(tmp_path / "a.dcm", **negative), NOTHING)
    assert found[:, 0, 0, 0].tolist() == [255 - 10 * number for number in range(8)]
    rescaled = cine(tmp_path / "b.dcm", RescaleSlope=2, RescaleIntercept=1)
    assert series_of().read(rescaled, NOTHING)[1, 0, 0, 0] == 21
    padded = FRAMES.copy()
    padded[1, :4] = 999
    found = series_of().read(cine(tmp_path / "c.dcm", padded, PixelPaddingValue=999), NOTHING)
    assert found[1].max() == 10


def test_files_of_a_folder_are_chosen_too(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for number in range(10):
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(tmp_path / "f" / f"{number}.png")
    record = Record(2, "p", (), cells={"series": "f"}, folder=tmp_path)
    assert numbers(series_of(frames=4), record) == [0, 3, 6, 9]
    assert numbers(series_of(frame_step=4), record) == [0, 4, 8]


def test_text_in_one_frame_is_found(tmp_path: Path) -> None:
    frames = np.zeros((3, 160, 200), np.uint16)
    frames[:, 60:100, 60:100] = 120
    record = cine(tmp_path / "a.dcm", frames)
    assert not has_text(series_of(), record, TextFinder(), "a")
    picture = Image.fromarray(frames[1].astype(np.uint8))
    ImageDraw.Draw(picture).text((10, 10), "MUELLER ANNA 1957", fill=255)
    frames[1] = np.asarray(picture)
    assert has_text(series_of(), cine(tmp_path / "b.dcm", frames), TextFinder(), "b")


def test_colours_of_a_picture_are_no_frames(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), (10, 20, 30), np.uint8)).save(tmp_path / "a.png")
    record = Record(2, "p", (), cells={"series": "a.png|a.png"}, folder=tmp_path)
    assert series_of(channels=3).read(record, NOTHING).shape == (2, 3, 8, 8)
    assert series_of(colour="grey").read(record, NOTHING).shape == (2, 1, 8, 8)
    with pytest.raises(DataError, match="has 3 channels, but the job wants 1"):
        series_of().read(record, NOTHING)
    one = Record(2, "p", (), cells={"series": "a.png"}, folder=tmp_path)
    with pytest.raises(DataError, match="has 1 frame, and the job wants 4"):
        series_of(channels=3, frames=4).read(one, NOTHING)
