"""Patients without a target hide nobody who has one: a job says how much they teach, which may be nothing."""

import csv
from typing import Any

import pytest

from client.data.manifest.splits import CohortKey, Split, SplitTable
from client.data.samples.site_data import SiteData
from client.guard.contributors import patients_behind
from shared.errors import JobError
from shared.wire import messages
from tests.jobs import make_job

LEARNS = {
    "task_unlabelled": {"method": "fixmatch", "threshold": 0.999999, "weight": 0.001},
    "training_local_steps": None,
    "training_local_epochs": 1,
}


@pytest.fixture
def hospital(make_site: Any) -> Any:
    """A hospital of 40 patients to train on, with the policy that a site begins with."""
    return make_site('approval = "automatic"\n', ["train"] * 40 + ["val", "test"], opened=False)


def leave_labels(site: Any, few: int) -> None:
    """Empty the labels of all patients but the first few."""
    path = site.folder / "manifest.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"label": row["label"] * (n < few)} for n, row in enumerate(rows))
    site.restart()


def trainers(site: Any, job: Any) -> int:
    reply = site.ask(f"query.{messages.DESCRIBE}", messages.describe_request(job.canonical()))
    return messages.read_description(reply.content).patients.get("train", 0)


@pytest.mark.parametrize("few", [0, 1, 9])
@pytest.mark.parametrize("method", ["fixmatch", "mean-teacher"])
def test_no_update_is_of_the_few_who_have_a_label(hospital: Any, job_of: Any, few: int, method: str) -> None:
    leave_labels(hospital, few)
    job = job_of(**LEARNS | {"task_unlabelled": {"method": method}})
    assert "policy.min_group asks for 10 patients with labels" in hospital.train(job)
    assert trainers(hospital, job) == 0
    assert "10 patients with labels" in patients_behind(hospital.folder, hospital.site.config, job)


def test_a_round_that_takes_few_labels_is_refused_however_many_images_it_takes(
    hospital: Any, job_of: Any
) -> None:
    leave_labels(hospital, 20)
    one_step = {"training_local_steps": 1, "training_local_epochs": None, "training_batch_size": 16}
    said = hospital.train(job_of(**LEARNS | one_step))
    assert "policy.min_patients_in_update asks for images of 10 patients with labels" in said
    job = job_of(**LEARNS)
    words = patients_behind(hospital.folder, hospital.site.config, job)
    assert words == "images of 20 patients with labels of this site"
    assert trainers(hospital, job) == 40
    assert hospital.train(job) == ""


def test_no_weight_is_as_good_as_none(job_of: Any) -> None:
    with pytest.raises(JobError, match=r"weight: must be at least 0\.001"):
        job_of(task_unlabelled={"method": "fixmatch", "weight": 1e-300})


def test_a_row_without_any_number_to_learn_has_no_target(hospital: Any) -> None:
    path = hospital.folder / "manifest.csv"
    lines = path.read_text().splitlines()
    ages = ["age", "50", *[""] * (len(lines) - 2)]
    path.write_text("".join(f"{line},{age}\n" for line, age in zip(lines, ages, strict=True)))
    job = make_job(task_name="regression")
    data = SiteData.load(path, job, site="a", split=Split(CohortKey.drawn(0), SplitTable()))
    assert data.patients["train"] == 40
    assert data.taught_by() == {"p0"}
