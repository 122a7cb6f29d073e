"""The preparation in a bundle gives what training gives, and the images for comparing show each step."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from client.data.cache.preprocess import prepare
from client.data.kinds import kinds_of
from client.data.manifest.rows import Record
from client.export.bundle import inference
from client.export.example_files import example_files
from client.export.preparation import Preparation
from client.export.programs import LARGEST_DIFFERENCE
from shared.job.data_options import DataTable
from shared.job.schema import JobSpec
from tests.jobs import make_job

FLAT = {"size": [20, 17]}
SOLID = {"dimensions": 3, "size": [12, 14, 9]}
WINDOW = {"intensity": "window", "window": [20.0, 150.0]}
DATA: dict[str, dict[str, Any]] = {
    "stretched": FLAT,
    "padded": {**FLAT, "resize": "pad", "intensity": "minmax"},
    "colours": {**FLAT, "channels": 3, "intensity": "percentile"},
    "grey of any": {**FLAT, "colour": "grey", **WINDOW},
    "colour of any": {**FLAT, "colour": "rgb", "channels": 3, "intensity": "none"},
    "volume": {**SOLID, "intensity": "percentile"},
    "padded volume": {**SOLID, "resize": "pad", **WINDOW},
    "volume of two channels": {**SOLID, "channels": 2},
    "volume at its scale": {**SOLID, "size": [40, 40, 40], "spacing": [1.5, 1.0, 2.0], "resize": "keep"},
    "resampled": {
        "dimensions": 3,
        "spacing": [1.5, 1.0, 2.0],
        "patch": [8, 8, 8],
        "size": None,
        "intensity": "minmax",
    },
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "stretched": {"intensity": "minmax"},
    "padded": {"resize": "stretch"},
    "colours": {"intensity": "minmax"},
    "grey of any": {"window": (20.0, 151.0)},
    "colour of any": {"intensity": "window", "window": (0.0, 255.0)},
    "volume": {"intensity": "minmax"},
    "padded volume": {"window": (20.0, 151.0)},
    "volume of two channels": {"resize": "pad"},
    "volume at its scale": {"resize": "pad"},
    "resampled": {"spacing": [1.5, 1.0, 2.1]},
}
"""What no export may take for the same: the smallest change of a step."""


@pytest.mark.parametrize("name", DATA)
def test_a_bundle_prepares_files_as_training_does(tmp_path, name) -> None:
    job = make_job(task_name="segmentation", data=DATA[name])
    files = example_files(tmp_path, job.data)
    trained = [as_trained(file, job) for file in files]
    for found, wanted in zip(as_bundled(tmp_path, job.data, job.data), trained, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=LARGEST_DIFFERENCE, atol=LARGEST_DIFFERENCE)
    other = job.data.model_copy(update=OTHERWISE[name])
    assert not all(map(same, as_bundled(tmp_path, job.data, other), trained))


def same(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    close = {"rtol": LARGEST_DIFFERENCE, "atol": LARGEST_DIFFERENCE}
    return found.shape == wanted.shape and np.allclose(found, wanted, **close)


def as_trained(file: Path, job: JobSpec) -> NDArray[np.float32]:
    record = Record(1, "nobody", (file,), cells={"image": file.name}, folder=file.parent)
    image = {"image": kinds_of(job)["image"]}
    found: NDArray[np.float32] = prepare(record, image, job.data).values["image"]
    return found


def as_bundled(folder: Path, data: DataTable, prepared: DataTable) -> list[NDArray[np.float32]]:
    """Let MONAI read the files as a bundle says, and prepare them in another way."""
    parser = ConfigParser(inference(data, "image"))
    parser["dataset_dir"], parser["program"] = str(folder), Preparation(prepared)
    return [np.asarray(item["image"]) for item in parser.get_parsed_content("dataset")]


def test_what_pillow_halves_is_refused(tmp_path) -> None:
    """A picture of 16 bits for each colour: Pillow reads its upper 8 without a word."""
    data = make_job(data={**FLAT, "channels": 3}).data
    pixels = np.random.default_rng(0).integers(0, 2**16, (9, 8, 3)).astype(np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=True), str(tmp_path / "deep.png"))
    with pytest.raises(RuntimeError) as refused:
        as_bundled(tmp_path, data, data)
    assert "RGB;16" in str(refused.value.__cause__)


def test_what_monai_would_take_for_millimetres_is_refused(tmp_path) -> None:
    data = make_job(data=SOLID).data
    image = nibabel.Nifti1Image(np.ones((6, 7, 8), np.float32), np.eye(4))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "small.nii.gz")
    with pytest.raises(RuntimeError) as refused:
        as_bundled(tmp_path, data, data)
    assert isinstance(refused.value.__cause__, KeyError)
