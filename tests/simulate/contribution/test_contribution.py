"""What each hospital brought: games whose answer is known, and a federation of which one teaches nothing."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.run_folder import RunRecord
from simulate.contribution.shapley import Brought, exact, leave_one_out, repeated, truncated
from tests.jobs import job_text

WORTH = {"a": 3.0, "b": 1.0, "c": 0.0, "d": 1.0}


def added(coalition: frozenset[str]) -> float:
    return sum(WORTH[player] for player in coalition)


def gloves(coalition: frozenset[str]) -> float:
    """One left glove and two right ones: a pair is worth 1."""
    return float("left" in coalition and len(coalition) > 1)


def test_players_who_add_up_are_worth_what_they_add() -> None:
    assert exact(list(WORTH), added) == pytest.approx(WORTH)
    assert leave_one_out(list(WORTH), added) == pytest.approx(WORTH)


def test_a_game_of_gloves_is_shared_as_shapley_says() -> None:
    players = ["left", "right-1", "right-2"]
    assert exact(players, gloves) == pytest.approx({"left": 2 / 3, "right-1": 1 / 6, "right-2": 1 / 6})
    assert leave_one_out(players, gloves) == {"left": 1.0, "right-1": 0.0, "right-2": 0.0}


def test_orders_drawn_by_chance_come_near_it_and_ask_each_coalition_once() -> None:
    asked: list[frozenset[str]] = []
    known: dict[frozenset[str], float] = {}

    def value(coalition: frozenset[str]) -> float:
        if coalition not in known:
            asked.append(coalition)
            known[coalition] = gloves(coalition)
        return known[coalition]

    found = truncated(["left", "right-1", "right-2"], value, 400, 0, 0.01)
    assert len(asked) <= 8
    for player, share in {"left": 2 / 3, "right-1": 1 / 6, "right-2": 1 / 6}.items():
        error = found[player].error
        assert error is not None
        assert abs(found[player].value - share) < 3 * error
    assert sum(own.value for own in found.values()) == pytest.approx(1.0)


def test_repetitions_say_how_far_chance_goes() -> None:
    found = repeated([{"a": Brought(1.0)}, {"a": Brought(3.0)}])
    assert found == {"a": Brought(2.0, pytest.approx(1.0))}
    assert repeated([{"a": Brought(1.0, 0.5)}]) == {"a": Brought(1.0, 0.5)}


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: Any) -> Path:
    """Return three hospitals: two with the same patients, one that says of each patient both."""
    file = tmp_path_factory.mktemp("three") / "manifest.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["patient", "site", "age", "grade", "label", "split"])
        for site in ("one", "twin", "contrary"):
            draw = np.random.default_rng(7)  # the same patients
            for number in range(12 if site == "contrary" else 60):
                age, grade = draw.normal(size=2)
                row = [f"{site}-{number}", site, f"{age:.4f}", f"{grade:.4f}"]
                if site == "contrary":
                    writer.writerows([[*row, label, "train"] for label in ("large", "small")])
                else:
                    label = "large" if age + grade > 0 else "small"
                    writer.writerow([*row, label, "train" if number % 3 else "val"])
            writer.writerow([f"{site}-test", site, 0.0, 0.1, "large", "test"])
    return file


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "table.toml"
    options = {
        "task_name": "classification",
        "task_image": False,
        "task_columns": ["age", "grade"],
        "task_scaling": {"age": [0.0, 1.0], "grade": [0.0, 1.0]},
        "model": {"name": "mlp", "hidden": [4]},
        "data": {},
        "training_learning_rate": 0.05,
        "training_local_epochs": 10,
        "training_batch_size": 128,  # all of a site's patients: in which order does not matter
        "evaluation": {"select_best": "loss"},
    }
    path.write_text(job_text(**options))
    return path


def test_a_hospital_whose_labels_say_nothing_brings_nothing_and_twins_bring_the_same(
    cli: Any, job: Path, hospitals: Path
) -> None:
    said = cli("contribution", job, "--data", hospitals, "--workers", "in-process", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    share = {site: own["value"] for site, own in found["shapley"].items()}
    whole = found["whole"] - found["nothing"]
    assert sum(share.values()) == pytest.approx(whole)
    assert whole > 0.2
    assert found["left_out"]["contrary"]["value"] < 0.05 * whole  # all are better off without it
    values = json.loads((Path(found["folder"]) / "values.json").read_text())
    assert values["5: contrary"] == pytest.approx(-math.log(2), abs=0.05)  # no better than a guess
    assert share["contrary"] < 0.1 * whole
    assert share["one"] == pytest.approx(share["twin"], abs=0.01 * whole)
    lost = {site: own["value"] for site, own in found["left_out"].items()}
    assert lost["one"] == pytest.approx(lost["twin"], abs=0.01 * whole)
    assert found["coalitions"] == 8
    folder = Path(found["folder"])
    runs = [RunRecord.read(run) for run in (folder / "runs").iterdir()]
    assert len(runs) == 8
    assert not [run for run in runs if "test" in run.read_description()]
    trained = {tuple(run.read_description()["coalition"]) for run in runs}
    assert ("contrary", "one") in trained
    assert "What each hospital brought" in (folder / "contribution.html").read_text()
    again = cli(
        "contribution", "--resume", folder, "--workers", "in-process", "--permutations", "4", "--json"
    )
    assert again.code == 0, again.err
    assert len(list((folder / "runs").iterdir())) == 8  # nothing was trained again
    assert {own["error"] is None for own in json.loads(again.out)["shapley"].values()} == {False}


def test_updates_of_one_training_tell_about_the_same(cli: Any, job: Path, hospitals: Path) -> None:
    asked = ("contribution", job, "--data", hospitals, "--workers", "in-process", "--method", "gtg")
    said = cli(*asked, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    [run] = (Path(found["folder"]) / "runs").iterdir()  # one training
    last = [event for event in RunRecord.read(run).events() if event["event"] == "round_finished"][-1]
    assert found["whole"] == pytest.approx(-last["loss"], abs=1e-5)  # put together as it was made
    share = {site: own["value"] for site, own in found["shapley"].items()}
    whole = found["whole"] - found["nothing"]
    assert whole > 0.2
    assert sum(share.values()) == pytest.approx(whole, abs=0.03 * whole)  # not those that bring little
    assert share["contrary"] < 0.1 * whole
    assert share["one"] == pytest.approx(share["twin"], abs=0.02 * whole)
    assert "GTG-Shapley" in (Path(found["folder"]) / "contribution.html").read_text()
    refused = cli(*asked, "--set", "strategy.name=fedmedian")
    assert refused.code == 2
    assert "'gtg' needs a model that is the mean of what sites send" in refused.err
