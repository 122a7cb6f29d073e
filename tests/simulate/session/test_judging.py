"""What a rehearsal says of its test: intervals by patients, beside what sees none of them."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from shared.job.schema import JobSpec
from shared.tasks import make_task
from simulate.session.judging import LEAST_PATIENTS, compare
from tests.jobs import job_text
from tests.shared.metrics.test_replicates import tables_of
from tests.simulate.session.test_simulate import description, table, write_table


@pytest.fixture
def classify(tiny_job: Callable[..., JobSpec]) -> JobSpec:
    """Return a job with two classes."""
    return tiny_job(
        task_name="classification", task_classes=["well", "ill"], evaluation={"select_best": "auroc"}
    )


def tables(patients: int, images: int, ill: float, skill: float, seed: int) -> dict[str, torch.Tensor]:
    """Return a test as `judge` describes it: all images of a patient have one label and nearly one score."""
    generator = np.random.default_rng(seed)
    truth = generator.random(patients) < ill
    scores = np.repeat(truth * skill + generator.normal(size=patients), images)
    truth, bins = np.repeat(truth, images), (2000 + 100 * scores).astype(int)
    decided = scores > skill / 2
    found = {
        "patient": np.repeat(np.arange(patients), images),
        "truth": np.stack([~truth, truth], axis=1),
        "decided": np.stack([~decided, decided], axis=1),
        "bins": bins[:, None],
        "train": np.repeat([0, 1], [round(100 * (1 - ill)), round(100 * ill)]),
    }
    return {name: torch.from_numpy(values) for name, values in found.items()}


def test_figures_are_those_of_the_pooled_patients_and_the_interval_holds_them(classify):
    sites = {"a": tables(30, 4, 0.3, 1.0, 1), "b": tables(20, 4, 0.7, 1.0, 2)}
    found = compare(make_task(classify), sites)
    truth, bins = (
        torch.cat([site[name][:, -1] for site in sites.values()]).numpy() for name in ("truth", "bins")
    )
    decided = torch.cat([site["decided"][:, 1] for site in sites.values()]).numpy()
    metrics = found["metrics"]
    assert found["patients"] == 50
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(truth, bins))
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth, decided))
    assert all(one["low"] < one["value"] < one["high"] for one in metrics.values())
    assert metrics["auroc"]["constant"] == 0.5
    home = np.repeat([0.3, 0.7], [120, 80])
    assert metrics["auroc"]["site"] == pytest.approx(roc_auc_score(truth, home))


def test_patients_are_the_unit_not_their_images(classify):
    def width(found):
        return found["metrics"]["auroc"]["high"] - found["metrics"]["auroc"]["low"]

    few, many = (compare(make_task(classify), {"a": tables(40, images, 0.5, 1.0, 3)}) for images in (1, 25))
    assert width(many) == pytest.approx(width(few), abs=1e-9)


def test_too_few_patients_have_no_interval(classify):
    assert compare(make_task(classify), {"a": tables(LEAST_PATIENTS - 1, 3, 0.5, 1.0, 0)})["metrics"] == {}
    assert compare(make_task(classify), {"a": {}}) == {}


def test_a_site_with_one_class_is_named(classify):
    found = compare(make_task(classify), {"a": tables(30, 1, 0.5, 1.0, 0), "b": tables(9, 1, 0.0, 1.0, 0)})
    assert found["one_class"] == {"b": "well"}


def test_dice_of_patients_has_an_interval_and_an_empty_answer_beside_it(tiny_job):
    mask = torch.zeros(20, 8, 8, dtype=torch.uint8)
    mask[:15, 2:6, 2:6] = 1
    found_mask = torch.zeros_like(mask)
    for patient in range(15):
        found_mask[patient, 2:6, 2 : 3 + patient % 4] = 1
    logits = torch.stack([1.0 - found_mask.float(), found_mask.float()], dim=1)
    task = make_task(tiny_job(evaluation_metrics=[{"name": "volume_error"}]))
    found = compare(task, {"a": tables_of(task, {"logits": logits}, mask=mask)})["metrics"]
    tp, volume = int(found_mask.sum()), int(mask.sum())
    assert found["dice_global"]["value"] == pytest.approx(2 * tp / (tp + volume))
    assert found["dice_patient"]["constant"] == 0.25
    assert found["volume_error"]["lower_is_better"]
    for name in ("dice_global", "dice_patient", "dice_image", "iou", "volume_error"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


@pytest.fixture
def confounded(tmp_path, tiny_data):
    """Two hospitals whose names tell the label, and a third whose test has one class."""
    rows = []
    for number, row in enumerate(table(tiny_data) * 4):
        site = "abc"[number % 3]
        ill = {"a": number % 12 != 0, "b": number % 12 == 1, "c": number % 2 == 0}[site]
        split = "test" if number % 5 == 0 else "val" if number % 5 == 1 else "train"
        label = "small" if site == "c" and split == "test" else "large" if ill else "small"
        rows.append(row | {"site": site, "patient": f"{site}{number}", "label": label, "split": split})
        rows[-1]["image"] = str(tiny_data.parent / row["image"])
        rows[-1]["mask"] = str(tiny_data.parent / row["mask"])
    (tmp_path / "job.toml").write_text(
        job_text(task_name="classification", job_rounds=1, evaluation={"select_best": "auroc"})
    )
    write_table(tmp_path / "manifest.csv", rows)
    return tmp_path


def test_a_rehearsal_and_data_check_say_the_same_and_the_end_says_what_it_was_worth(cli, confounded):
    job, data = confounded / "job.toml", confounded / "manifest.csv"
    checked = cli("data", "check", data, "--job", job)
    warned = [line for line in checked.out.splitlines() if line.startswith("warning")]
    said = cli("simulate", job, "--data", data, "--workers", "in-process", "--out", "runs")
    assert said.code == 0, said.err
    before = said.out[: said.out.index("3 sites")]
    assert any("the site alone tells" in line for line in warned)
    assert any("of equal images" in line for line in warned)
    assert [line for line in before.splitlines() if line.startswith("warning")] == warned
    after = " ".join(said.out[said.out.index("finished in") :].split())
    assert "The test has one class only at c ('small')" in after
    assert "The name of the hospital alone reaches" in after
    found = description(next(said.run.parent.glob("tiny-*")))["comparison"]
    assert found["how"] == "bootstrap"
    assert found["metrics"]["auroc"]["site"] > 0.6
    assert json.dumps(found)


def test_all_that_is_wrong_is_named_before_a_run_is_made(cli, confounded):
    rows = table(confounded / "manifest.csv")
    for row in rows[3:9]:
        row["image"] = str(confounded / f"nowhere{row['patient']}.png")
    rows[20]["label"] = "huge"
    write_table(confounded / "manifest.csv", rows)
    job, data = confounded / "job.toml", confounded / "manifest.csv"
    checked = " ".join(cli("data", "check", data, "--job", job).out.split())
    said = cli("simulate", job, "--data", data, "--workers", "in-process")
    assert said.code == 2
    text = " ".join(said.err.split())
    assert "7 problems of 2 kinds" in text
    for words in ("row 5", "and 3 more of this kind", "the label 'huge'"):
        assert words in text
        assert words in checked
    assert not list(confounded.glob("runs/tiny-*"))
