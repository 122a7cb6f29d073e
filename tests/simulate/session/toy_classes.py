"""Tasks of a package, where it is installed: `tests/test_plugin.py` starts these tests.

They are subclasses of none of Wardround's tasks, and their targets stand in columns of other names.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from client.data.manifest.rows import scan_manifest
from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import SiteData
from client.guard.bounds import Bounds
from client.guard.release import Release
from client.settings.policy import PolicyError, PolicyTable, check_job
from shared.job.model_size import is_larger, model_size
from shared.job.schema import JobSpec, parse_job
from shared.networks.build import build_model
from simulate.session.judging import LEAST_PATIENTS
from tests.conftest import write_dataset
from tests.jobs import job_tables
from tests.simulate.session.test_simulate import description

STAGE: dict[str, Any] = {
    "task_name": "classification",
    "task": {"name": "toy-stage", "classes": ["small", "large"]},
    "evaluation": {"select_best": "auroc", "metrics": [{"name": "brier"}]},
}
OUTLINE: dict[str, Any] = {
    "task": {"name": "toy-outline", "classes": ["disc"], "class_weights": "federation"},
    "evaluation": {"select_best": "right", "metrics": [{"name": "volume_error"}]},
}


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    """Return a manifest whose columns are `stage` and `outline`; a stage is nearly that of its hospital."""
    with write_dataset(tmp_path / "data", patients=12).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        own = "large" if (row["site"] in ("alpha", "beta")) == (number % 12 > 0) else "small"
        row["stage"], row["outline"] = own, row.pop("mask")
        row["corner"] = f"corner-{number}.txt"
        (tmp_path / "data" / row["corner"]).write_text(f"{number % 8} 3")
        del row["label"]
    path = tmp_path / "data" / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def simulated(cli: Any, hospitals: Path, tmp_path: Path) -> Any:
    """Return a function that runs a job on the hospitals; it gives what was said, and `run.json`."""

    def run(options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        tables = job_tables(**options, job_rounds=1)
        path = tmp_path / "job.toml"
        path.write_text(_text(tables))
        said = cli(
            "simulate", path, "--data", hospitals, "--workers", "in-process", "--out", tmp_path / "runs"
        )
        assert said.code == 0, said.err
        return " ".join(said.out.split()), description(next((tmp_path / "runs").glob("tiny-*")))

    return run


def _text(tables: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(tables)


def test_a_kind_of_field_is_read_checked_drawn_and_must_be_allowed(
    cli: Any, hospitals: Path, tmp_path: Path
) -> None:
    tables, path = job_tables(**OUTLINE), tmp_path / "job.toml"
    path.write_text(_text(tables))
    said = cli("data", "check", hospitals, "--job", path)
    assert said.code == 0, said.err
    assert "points in an image: 1 to 1, mean 1" in said.out
    said = cli("data", "look", hospitals, "--job", path, "--out", tmp_path / "look")
    assert said.code == 0, said.err
    assert "<dd>1 point</dd>" in (tmp_path / "look" / "look.html").read_text()
    job, tasks = parse_job(tables, "tiny"), ["toy-outline"]
    with pytest.raises(
        PolicyError, match=r"policy\.kinds does not name 'toy-corner', which comes with the pack"
    ):
        check_job(PolicyTable(tasks=tasks), job, "alpha")
    check_job(PolicyTable(tasks=tasks, kinds=["image", "mask", "toy-corner"]), job, "alpha")


@pytest.mark.parametrize("mechanism", ["none", "dp-sgd"])
def test_tied_weights_travel_once_and_stay_tied(
    cli: Any, hospitals: Path, tmp_path: Path, mechanism: str
) -> None:
    private = {"privacy_mechanism": mechanism, "strategy_weight": "equal"}
    private |= {} if mechanism == "none" else {"privacy_noise_multiplier": 1.0}
    tables = job_tables(**STAGE | {"model": {"name": "toy-linear", "tied": True}}, **private, job_rounds=2)
    path, job = tmp_path / "job.toml", parse_job(tables, "tied")
    path.write_text(_text(tables))
    said = cli("simulate", path, "--data", hospitals, "--workers", "in-process", "--out", tmp_path / "runs")
    assert said.code == 0, said.err
    last = load_file(next((tmp_path / "runs").glob("tiny-*")) / "model.safetensors")
    first = build_model(job)
    assert last.keys() == {name for name, _ in first.named_parameters()}
    assert first[2] is first[4]
    assert all(np.abs(last[name] - own.detach().numpy()).max() > 0 for name, own in first.named_parameters())
    assert not is_larger(job, model_size(job).each / 1e6)
    assert is_larger(job, model_size(job).each / 1e6 - 0.0001)


def test_a_stage_is_beside_one_answer_for_all_and_the_name_of_the_hospital(simulated: Any) -> None:
    said, about = simulated(STAGE)
    metrics = about["comparison"]["metrics"]
    assert about["comparison"]["patients"] >= LEAST_PATIENTS
    for name in ("balanced_accuracy", "auroc", "brier"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]
    assert metrics["auroc"]["constant"] == 0.5
    assert metrics["auroc"]["site"] > 0.7
    assert "the site alone tells 'large'" in said
    assert "The name of the hospital alone reaches" in said


def test_the_package_says_what_its_own_figures_are_beside_and_which_has_no_interval(simulated: Any) -> None:
    said, about = simulated(OUTLINE)
    metrics = about["comparison"]["metrics"]
    assert metrics["right"]["constant"] == 0.5
    assert metrics["right"]["low"] < metrics["right"]["value"] < metrics["right"]["high"]
    assert metrics["volume_error"]["lower_is_better"]
    assert "spread has no interval: nobody asked for one" in said


def outlines() -> JobSpec:
    return parse_job(job_tables(**OUTLINE), "outlines")


def test_pixels_of_its_masks_are_rounded_as_pixels(hospitals: Path) -> None:
    """To two digits, as the images of a class are to tens."""
    job = outlines()
    data = SiteData.load(hospitals, job, site="alpha", split=Split(CohortKey.drawn(1), SplitTable()))
    release = Release.of(PolicyTable(min_group=1, min_patients_in_update=1), job)
    pixels = data.class_counts()
    assert pixels.sum() == 16 * 16 * data.examples["train"]
    told = release.class_counts(data, Bounds(1, lambda _: 0))
    assert told == tuple(int(float(f"{count:.1e}")) for count in pixels)
    assert told[0] != round(int(pixels[0]), -1)


def test_a_check_names_the_stages(cli: Any, hospitals: Path, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(_text(job_tables(**STAGE)))
    said = cli("data", "check", hospitals, "--job", tmp_path / "job.toml")
    assert "the site alone tells 'large'" in said.out
    found = scan_manifest(hospitals, needs=["stage"]).records
    large = sum(record.cells["stage"] == "large" for record in found)
    assert f"large ({large})" in said.out
