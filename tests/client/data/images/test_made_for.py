"""Images that a job is not for are refused where they are read: in training, checks and predictions alike."""

from copy import copy
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from client.data.kinds import kinds_of
from client.data.kinds.row_images import read_scene
from client.data.manifest.rows import Record
from shared.errors import DataError, JobError
from shared.text.redact import redact_error
from tests.dicom_files import write_ct
from tests.jobs import make_job


def read(path: Path, **data: Any) -> None:
    job = make_job(task_name="segmentation", data={"dimensions": 3, "size": [8, 8, 8], **data})
    kinds = {"image": kinds_of(job)["image"]}
    read_scene(Record(2, "p", (path,), cells={"image": path.name}, folder=path.parent), kinds, job.data)


SIZES = [[0.6, 0.8], [0.7, 0.9], [1.5, 2.5]]


def test_modality_and_size_of_pixels(tmp_path) -> None:
    write_ct(tmp_path / "ct", np.zeros((4, 9, 7)), spacing=(2.0, 0.8, 0.7))
    for data in ({}, {"modalities": ["MR", "CT"]}, {"pixel_sizes": SIZES}):
        read(tmp_path / "ct", **data)
    with pytest.raises(DataError, match="is of the modality CT, and the job is for MR or PT") as refused:
        read(tmp_path / "ct", modalities=["MR", "PT"])
    assert "[data] modalities" in str(refused.value)
    with pytest.raises(DataError, match=r"has pixels of 0.7 x 0.8 x 2 mm, and the job is for pixels of 0.6"):
        read(tmp_path / "ct", pixel_sizes=[*SIZES[:2], [3.0, 5.0]])


def test_what_leaves_says_not_which_property_it_was(tmp_path) -> None:
    """Else a job would ask for a patient's modality, and how large their pixels are, by its own lists."""
    write_ct(tmp_path / "ct", np.zeros((4, 9, 7)), spacing=(2.0, 0.8, 0.7))
    np.save(tmp_path / "a.npy", np.zeros((9, 7, 4)))
    told = set()
    for name, data in (
        ("ct", {"modalities": ["MR", "PT"]}),
        ("ct", {"modalities": ["PT"]}),
        ("ct", {"pixel_sizes": [*SIZES[:2], [3.0, 5.0]]}),
        ("a.npy", {"pixel_sizes": SIZES}),
    ):
        with pytest.raises(DataError) as refused:
            read(tmp_path / name, **data)
        told.add(redact_error(copy(refused.value)))  # as a worker process hands it on
    assert told == {"UnfitImageError: an image is not one that the job is for"}


def test_what_a_file_does_not_say(tmp_path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 7, 4)), np.eye(4)), tmp_path / "a.nii")
    read(tmp_path / "a.nii", modalities=["MR"])  # no NIfTI names its modality
    np.save(tmp_path / "a.npy", np.zeros((9, 7, 4)))
    with pytest.raises(DataError, match="does not say how large its pixels are"):
        read(tmp_path / "a.npy", pixel_sizes=SIZES)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data_pixel_sizes": [[1.0, 2.0]]}, "has 1 axes"),
        ({"data_pixel_sizes": [[2.0, 1.0], [1.0, 2.0]]}, "smallest stands before"),
        ({"data_modalities": ["mr"]}, "modalities"),
    ],
)
def test_a_job_says_it_well(options, says) -> None:
    with pytest.raises(JobError, match=says):
        make_job(**options)
