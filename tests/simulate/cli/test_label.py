"""A list of what to label next, from a run's model; and the labels taken back."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import write_dataset
from tests.jobs import job_text


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def emptied(manifest: Path, column: str) -> Path:
    """Leave two cells in three empty."""
    found = rows(manifest)
    for number, row in enumerate(found):
        row[column] = row[column] if number % 3 == 0 else ""
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, found[0].keys())
        writer.writeheader()
        writer.writerows(found)
    return manifest


@pytest.mark.parametrize(("task", "column"), [("classification", "label"), ("segmentation", "mask")])
def test_what_to_label_is_listed_for_people_and_programs_and_taken_back(
    cli, simulate, tmp_path, task, column
):
    data = emptied(write_dataset(tmp_path / "data", ("alpha", "beta", "gamma"), patients=6), column)
    before = data.read_bytes()
    job = tmp_path / "few.toml"
    leave = {"task_unlabelled": {"method": "leave-out"}, "model_dropout": 0.3, "job_rounds": 1}
    leave = leave if task == "classification" else {**leave, "model_dropout": None}
    job.write_text(job_text(task_name=task, **leave))
    run = simulate("--data", data, job=job).run
    hows = ["entropy", "bald", "core-set", "random"] if task == "classification" else ["entropy"]
    orders = {}
    for by in hows:
        said = cli("client", "label", "list", run, "--data", data, "--out", by, "--by", by, "--count", 5)
        assert said.code == 0, said.err
        listed = rows(Path(by, "to-label.csv"))
        assert [row["rank"] for row in listed] == list("12345")
        assert "5 of 6 unlabelled rows" in said.out  # of 12 that train
        orders[by] = [row["image"] for row in listed]
    assert len({tuple(order) for order in orders.values()}) == len(hows)
    scores = [float(row["entropy"]) for row in rows(Path("entropy", "to-label.csv"))]
    assert scores == sorted(scores, reverse=True)
    for row in rows(data):
        if row["image"] in orders["entropy"]:
            assert (row["split"], row[column]) == ("train", "")
    store = json.loads(Path("entropy", "monai-label", "datastore_v2.json").read_text())
    names = [row["id"] for row in rows(Path("entropy", "to-label.csv"))]
    assert list(store["objects"]) == sorted(names) == names  # who takes them by name begins with the first
    for name, own in store["objects"].items():
        copy = Path("entropy", "monai-label", name + own["image"]["ext"])
        assert (
            copy.read_bytes()
            == (data.parent / orders["entropy"][own["image"]["info"]["rank"] - 1]).read_bytes()
        )
    scene = ElementTree.parse(Path("entropy", "scene.mrml")).getroot()  # noqa: S314 (written here)
    files = [Path("entropy", one.get("fileName", "")) for one in scene.iter("VolumeArchetypeStorage")]
    assert len(files) == 5
    assert all(file.is_file() for file in files)
    if task == "classification":
        filled = Path("entropy", "to-label.csv")
        filled.write_text(filled.read_text().replace(",\n", ",large\n"))
        given = filled
    else:
        given = Path("entropy", "monai-label", "labels", "final")
        given.mkdir(parents=True)
        for file in files:
            (given / file.name).write_bytes((data.parent / "images" / "mask-alpha-0-0.png").read_bytes())
    said = cli("client", "label", "take", given, "--data", data, "--out", "new.csv", "--json")
    assert json.loads(said.out)["labels"] == 5
    assert json.loads(said.out)["left"] == sum(not row[column] for row in rows(data)) - 5
    assert data.read_bytes() == before
    again = simulate("--data", "new.csv", job=job).run
    assert json.loads((again / "run.json").read_text())["sites"]


def test_a_task_without_classes_has_nothing_to_be_unsure_of(cli, simulate, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(
        job_text(
            task_name="restoration", task_degradations=[{"kind": "gaussian", "level": 0.1}], job_rounds=1
        )
    )
    run = simulate(job=job).run
    said = cli("client", "label", "list", run, "--data", tmp_path, "--out", "list")
    assert said.code == 2
    assert "gives no classes of which a model could be unsure" in said.err
    assert not Path("list").exists()
