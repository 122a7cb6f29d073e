"""What a real run's report says of its test, from nothing but what leaves the sites anyway."""

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score

from client.data.manifest.splits import CohortKey
from client.guard.bounds import Bounds
from client.guard.metric_release import withhold
from server.report.comparison import comparison, from_counts, sentences
from server.report.tables import print_comparison
from server.rounds.judging import Judged
from server.runs.visibility import Figures
from shared.batch import Batch
from shared.metrics.states import MetricSet
from shared.tasks import make_task


@pytest.fixture
def job(tiny_job):
    """Return a job with two classes."""
    return tiny_job(
        task_name="classification", task_classes=["well", "ill"], evaluation={"select_best": "auroc"}
    )


def told_by(job, ill: list[int], seed: int = 0, least: int = 1) -> MetricSet:
    """Return what a site tells of its test: one image for each patient, scores that know a little."""
    generator = np.random.default_rng(seed)
    truth = np.array(ill)
    score = torch.from_numpy(generator.normal(truth * 0.5))
    metrics = make_task(job).metrics(None)
    logits, targets = torch.stack([-score / 2, score / 2], dim=1), torch.from_numpy(truth)
    patients = [f"p{number}" for number in range(len(truth))]
    metrics.update({"logits": logits}, Batch({"label": targets}, patients), torch.zeros(len(truth)))
    withhold(metrics, Bounds(least, CohortKey.drawn(1).seed), job.evaluation.bins)
    return metrics


def judged(job, sites: dict[str, MetricSet], *, summed: bool = False) -> Judged:
    pooled = make_task(job).metrics(None)
    for metrics in sites.values():
        pooled.merge(metrics.pack())
    tallies = {} if summed else {name: metrics.tally() for name, metrics in sites.items()}
    scores = {name: {} if summed else metrics.compute() for name, metrics in sites.items()}
    return Judged(pooled.compute(), scores, {}, {}, {}, True, None, pooled.tally(), tallies)


SITES = {"a": [0] * 40 + [1] * 20, "b": [0] * 20 + [1] * 60, "c": [0] * 20}
PATIENTS = {"a": {"test": 60}, "b": {"test": 80}, "c": {"test": 20}}


def test_without_secure_sums_the_site_and_the_constant_are_known(job):
    sites = {name: told_by(job, ill, number) for number, (name, ill) in enumerate(SITES.items())}
    found = from_counts(job, judged(job, sites), PATIENTS)
    truth = np.concatenate([np.array(ill) for ill in SITES.values()])
    share = np.concatenate([np.full(len(ill), np.mean(ill)) for ill in SITES.values()])
    auroc = found["metrics"]["auroc"]
    assert auroc["site"] == pytest.approx(roc_auc_score(truth, share))
    assert found["metrics"]["accuracy"]["constant"] == pytest.approx(max(truth.mean(), 1 - truth.mean()))
    assert auroc["low"] < auroc["value"] < auroc["high"]
    assert found["one_class"] == {"c": "well"}
    text = " ".join(sentences(found))
    assert "The test has one class only at c ('well')" in text
    assert "The name of the hospital alone reaches AUROC" in text


def test_of_a_masked_sum_only_what_the_sum_tells_is_said(job):
    sites = {name: told_by(job, ill) for name, ill in SITES.items()}
    found = from_counts(job, judged(job, sites, summed=True), PATIENTS)
    assert found["one_class"] == {}
    assert all("site" not in one and "constant" in one for one in found["metrics"].values())


def test_what_a_site_withholds_is_not_guessed(job):
    sites = {"a": told_by(job, [0] * 40 + [1] * 4, least=10), "b": told_by(job, [0, 1] * 100, least=10)}
    assert sites["a"].tally() is None
    found = from_counts(job, judged(job, sites), PATIENTS)
    assert "a" not in found["one_class"]
    assert all("site" not in one for one in found["metrics"].values())


def test_images_of_one_patient_make_no_interval_narrower(job):
    sites = {"a": told_by(job, [0, 1] * 200)}
    many, few = (
        from_counts(job, judged(job, sites), {"a": {"test": number}})["metrics"]["accuracy"]
        for number in (400, 20)
    )
    assert few["high"] - few["low"] > 3 * (many["high"] - many["low"])


def test_a_gain_that_its_interval_swallows_is_said(job):
    sites = {"a": told_by(job, [0, 1] * 10)}
    found = from_counts(job, judged(job, sites), {"a": {"test": 20}})
    assert "The 95 % interval is wider than the model's gain over one answer for all: AUROC" in " ".join(
        sentences(found)
    )
    console = Console(record=True, width=80)
    test = {"federation": judged(job, sites).federation}
    print_comparison(console, {"comparison": found, "test": test})
    assert "The test of 20 patients" in console.export_text()


def test_people_see_the_sum_and_only_the_sites_that_show_theirs(job):
    sites = {name: told_by(job, ill) for name, ill in SITES.items()}
    found = from_counts(job, judged(job, sites), PATIENTS)
    description = {
        "sites": {name: {} for name in SITES},
        "figures": {"a": "project", "b": "nobody", "c": "nobody"},
        "comparison": found,
    }
    seen = Figures(description, "researcher").description(description)["comparison"]
    assert seen["one_class"] == {}
    assert "patients" not in seen
    assert all("site" not in one for one in seen["metrics"].values())
    assert seen["metrics"]["auroc"]["constant"] == 0.5
    assert Figures(description, None).description(description)["comparison"] == found


def test_less_is_better_where_the_metric_says_so(tiny_job):
    job = tiny_job(task_name="survival")
    name, rivals = (
        "integrated_brier",
        {"constant": {"integrated_brier": 0.25}, "site": {"integrated_brier": 0.2}},
    )
    options = {"one_class": {}, "patients": 40, "how": "bootstrap"}

    def said(value):
        found = comparison(job, {name: value}, {name: (value - 0.01, value + 0.01)}, rivals, **options)
        return " ".join(sentences(found))

    assert said(0.15) == ""
    assert "The name of the hospital alone reaches integrated brier 0.20, the model 0.22" in said(0.22)
    assert "The model is no better than one answer for all: integrated brier (0.26)" in said(0.26)


def test_why_a_figure_has_no_interval_is_said(tiny_job):
    job = tiny_job(task_name="generation")
    reasons = {"frechet": "it is none"}
    found = comparison(job, {}, {}, {}, one_class={}, patients=4, how="bootstrap", no_interval=reasons)
    assert list(sentences(found)) == ["Fréchet distance has no interval: it is none."]


def test_a_segmentation_has_nothing_to_compare_by_counts(tiny_job):
    job = tiny_job()
    metrics = make_task(job).metrics(None)
    empty = Judged(metrics.compute(), {}, {}, {}, {}, False, None, metrics.tally(), {})
    assert from_counts(job, empty, {}) == {}
