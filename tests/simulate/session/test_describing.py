"""`wardround describe`: the data of all hospitals before anybody trains, in a rehearsal."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.runs.visibility import Figures
from shared.run_folder import RunRecord
from tests.jobs import make_job


@pytest.fixture
def describe(cli, tiny_job_file, tiny_data) -> Any:
    def run(*options: object) -> Any:
        said = cli("describe", tiny_job_file, "--data", tiny_data, "--workers", "in-process", *options)
        assert said.code == 0, said.err
        return said

    return run


def described(said: Any) -> Any:
    return RunRecord.read(said.run).read_description()["described"]


def test_it_tells_sizes_classes_and_values_of_each_hospital(cli, describe) -> None:
    said = describe()
    assert "image: height in pixels" in said.out
    assert "disc" in said.out
    found = described(said)
    assert sorted(found["sites"]) == ["alpha", "beta", "delta", "gamma"]
    count, total, squares = found["sites"]["alpha"]["image size"][0]
    assert (total / count, squares / count) == (16.0, 256.0)
    assert found["all"]["image size"][0][0] == sum(
        part["image size"][0][0] for part in found["sites"].values()
    )
    lowest, *_, highest = (total / count for count, total, _ in found["all"]["image values"])
    assert lowest == pytest.approx(60, abs=15)  # noise about 80
    assert highest == pytest.approx(180, abs=15)  # discs of about 170
    record = RunRecord.read(said.run)
    assert record.status == "finished"
    assert not list(record.path.glob("*.safetensors"))  # no model was made, and none was sent
    page = (record.path / "report.html").read_text()
    assert "How the sites differ" in page
    assert "Mean and standard deviation over patients" in page
    shown = cli("show", record.path)
    assert shown.code == 0, shown.err
    assert "image: height in pixels" in shown.out


def test_as_json_it_has_the_differences(describe) -> None:
    found = json.loads(describe("--json").out)
    assert {one["what"] for one in found["differences"]} >= {"classes", "image: percentile 50"}
    assert found["statistics"]["classes"] == {"kind": "counts", "of": ["background", "disc"]}
    [row] = found["landmarks"]
    assert make_job(data_landmarks=[row]).data.landmarks == [row]  # as it is, it goes into a job


def test_behind_masks_the_sum_is_the_same_and_no_hospital_shows(describe) -> None:
    plain = described(describe())
    masked = describe("--set", "privacy.secure_aggregation=true")
    found = described(masked)
    assert found["sites"] == {}
    for name, numbers in plain["all"].items():
        np.testing.assert_allclose(found["all"][name], numbers, rtol=1e-12)  # but for the last bit
    assert "figures of single sites are not shown" in masked.out


def test_the_job_for_real_hospitals_is_checked_and_says_what_leaves(cli, tiny_job_file) -> None:
    said = cli("describe", tiny_job_file, "--write", "what-we-have.toml")
    assert said.code == 0, said.err
    checked = cli("job", "check", "what-we-have.toml")
    assert checked.code == 0, checked.err
    assert "the data are described" in checked.out
    text = Path("what-we-have.toml").read_text()
    for before, after, says in (
        ("rounds = 0", "rounds = 2", "rounds: must be 0"),
        ('name = "fedavg"', 'name = "fedprox"', "must be 'fedavg'"),
    ):
        Path("other.toml").write_text(text.replace(before, after, 1))
        refused = cli("job", "check", "other.toml")
        assert refused.code == 2
        assert says in refused.err


def test_a_person_sees_the_hospitals_that_show_themselves() -> None:
    """Of two that hide, neither can be had from the sum; of one alone the others would tell it."""
    parts = {site: {"classes": [10.0, 20.0]} for site in "abcd"}
    about = {
        "sites": {site: {} for site in "abcd"},
        "figures": {"a": "project", "b": "project", "c": "nobody", "d": "nobody"},
        "described": {"all": {"classes": [40.0, 80.0]}, "sites": parts, "summed": list("abcd"), "least": 10},
    }
    found = Figures(about, "researcher").description(about)["described"]
    assert sorted(found["sites"]) == ["a", "b"]
    assert found["all"] == {"classes": [40.0, 80.0]}
    about["figures"]["d"] = "project"
    assert Figures(about, "researcher").description(about)["described"]["sites"] == {}
