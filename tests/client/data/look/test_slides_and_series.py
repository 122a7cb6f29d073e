"""A task of bags or series, checked and looked at without an image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from client.data.cache.preprocess import preparation_digest
from client.data.check.dataset_check import check_dataset
from client.data.check.expected import Expected
from client.data.kinds import kinds_of
from client.data.look import Look, write_look
from client.data.manifest.splits import CohortKey, Split
from shared.errors import JobError
from shared.job.schema import JobSpec
from shared.tasks.classification.options import Classification
from shared.tasks.fields import Field
from tests.client.data.formats.dicom_files import written
from tests.client.data.kinds.slide_files import aperio, pyramid
from tests.jobs import make_job

SPLIT = Split(CohortKey.drawn(0))
LABEL = Field("label", ("label",), role="target", classes=("a", "b"))


@pytest.fixture
def job_with(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a job whose task has a label and one other field."""

    def make(kind: str, **options: Any) -> JobSpec:
        fields = {kind: Field(kind, (kind,)), "label": LABEL}
        monkeypatch.setattr(Classification, "fields", lambda _: fields)
        named = {"data_size": [32, 32], "data_augment": [], **options}
        return make_job(task_name="classification", task_classes=["a", "b"], **named)

    return make


def manifest(folder: Path, kind: str, names: list[str]) -> Path:
    rows = [
        f"p{number},{name},{'ab'[number % 2]},{('train', 'val', 'test')[number % 3]}"
        for number, name in enumerate(names)
    ]
    (folder / "manifest.csv").write_text("\n".join([f"patient,{kind},label,split", *rows]) + "\n")
    return folder / "manifest.csv"


def test_slides(tmp_path: Path, job_with: Any) -> None:
    pyramid(tmp_path / "a.tif")
    aperio(tmp_path / "b.svs")
    path = manifest(tmp_path, "tiles", ["a.tif", "b.svs", "missing.svs"])
    slides = {"data_mpp": 1.0, "data_tiles": 5, "data_channels": 3}
    job = job_with("tiles", **slides)
    report = check_dataset(path, Expected.of(job), split=SPLIT)
    assert len(report.errors) == 1
    assert "missing.svs" in str(report.errors[0])
    assert report.fields["picture of the label"] == 1
    assert not any("in all rows" in text for text in report.warnings)
    assert report.tallies["tiles"].numbers["tiles with tissue of a slide"].count == 2
    write_look(report, Look(job, 4, 0), tmp_path / "look")
    page = (tmp_path / "look" / "look.html").read_text()
    assert "5 tiles of 16 with tissue" in page
    assert "1 µm" in page
    made = [job_with("tiles", **{**slides, **more}) for more in ({}, {"job_seed": 1}, {"data_mpp": 2.0})]
    digests = {preparation_digest(kinds_of(one), one.data) for one in made}
    assert len(digests) == 3


def test_the_seed_is_no_part_of_what_is_not_drawn(job_with: Any) -> None:
    jobs = [job_with("tiles", job_seed=seed) for seed in (0, 1)]
    assert len({preparation_digest(kinds_of(job), job.data) for job in jobs}) == 1


def test_series(tmp_path: Path, job_with: Any) -> None:
    frames = np.zeros((4, 160, 200), np.uint16)
    for number in range(4):
        picture = Image.new("L", (200, 160))
        ImageDraw.Draw(picture).text((10, 10), "MUELLER ANNA 1957", fill=255)
        frames[number] = np.asarray(picture)
        frames[number, 60:100, 60 + number : 100] = 120
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        written(tmp_path / name, frames, NumberOfFrames=4, FrameTime=40, PatientName="A^B")
    path = manifest(tmp_path, "series", ["a.dcm", "b.dcm", "c.dcm"])
    job = job_with("series", data_frames=2)
    report = check_dataset(path, Expected.of(job), split=SPLIT)
    assert report.errors == []
    assert report.fields["PatientName"] == 3
    assert any("3 rows with what looks like text in the frames" in text for text in report.warnings)
    write_look(report, Look(job, 4, 0), tmp_path / "look")
    assert "frame 2 of 2" in (tmp_path / "look" / "look.html").read_text()


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("tiles", {"data_tiles": 5}, "needs mpp"),
        ("tiles", {"data_mpp": 0.5, "data_size": None, "data_patch": [8, 8]}, "needs the size of a tile"),
        ("tiles", {"data_frames": 5}, "is about series"),
        ("series", {"data_mpp": 0.5}, "is about tiles"),
        ("series", {"data_frames": 5, "data_frame_step": 2}, "give one"),
    ],
)
def test_keys_that_say_nothing_are_refused(
    kind: str, options: dict[str, Any], said: str, job_with: Any
) -> None:
    with pytest.raises(JobError, match=said):
        job_with(kind, **options)
