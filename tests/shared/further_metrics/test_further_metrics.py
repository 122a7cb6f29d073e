"""Metrics that a job asks for besides those of its task."""

import math

import pytest
import torch
from sklearn.metrics import brier_score_loss

from server.rounds.answer_checks import check_evaluation
from shared.errors import JobError, WardroundError
from shared.further_metrics import METRICS
from shared.further_metrics.brier import Brier
from shared.metrics.grouped import GroupedMetrics
from shared.metrics.spec import is_better, metric_names
from shared.tasks import make_task
from shared.wire.messages import Description, Evaluation, MessageError
from tests.jobs import make_job
from tests.shared.metrics.test_metrics import assert_same, evaluate, pool, predictions

BRIER, VOLUMES = [{"name": "brier"}], [{"name": "volume_error"}]


def asking(metrics, task, classes, **options):
    named = {"task_name": task, "task_classes": classes, "task_loss": "cross-entropy"}
    return make_job(**named, evaluation={"metrics": metrics, **options})


def job_for(name):
    """Return a job of a task that can have the metric."""
    for task, classes in (("classification", ["a", "b", "c"]), ("segmentation", ["core", "edema"])):
        if METRICS[name](name=name).problem(asking([], task, classes).task) is None:
            return asking([{"name": name}], task, classes)
    raise AssertionError(f"'{name}' is for neither of these tasks: give it a job here")


JOBS = {name: job_for(name) for name in METRICS}


@pytest.mark.parametrize("name", METRICS)
def test_sites_add_up_to_pooled(name):
    spec = JOBS[name]
    logits, targets = predictions(spec, 40, seed=1)
    patients = [f"p{i // 2}" for i in range(40)]
    parts = [slice(0, 10), slice(10, 40)]
    sites = [evaluate(spec, logits[part], targets[part], patients[part], batch=7) for part in parts]
    pooled = evaluate(spec, logits, targets, patients).compute()
    assert_same(pool(spec, sites), pooled)
    assert tuple(pooled) == metric_names(spec)
    assert pooled[name] > 0


def test_brier_is_that_of_scikit_learn():
    spec = JOBS["brier"]
    logits, targets = predictions(spec, 50, seed=2)
    found = evaluate(spec, logits, targets, [f"p{i}" for i in range(50)]).compute()["brier"]
    probabilities = logits.softmax(dim=1).double()
    single = [brier_score_loss((targets == k).int(), probabilities[:, k]) for k in range(3)]
    assert found == pytest.approx(sum(single))


def test_brier_of_several_labels_is_their_mean():
    spec = make_job(
        task_name="classification",
        task_classes=["a", "b"],
        task_loss="cross-entropy",
        task_multi_label=True,
        evaluation={"metrics": BRIER},
    )
    logits, targets = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert evaluate(spec, logits, targets, ["p"]).compute()["brier"] == 0.25


def test_volume_error_leaves_out_images_without_the_structure():
    spec = JOBS["volume_error"]
    size = spec.data.size
    truth, found = torch.zeros(2, *size, dtype=torch.uint8), torch.zeros(2, 3, *size)
    found[:, 0] = 0.5
    truth[0, :2, :2] = 1
    found[0, 1, :2, :3] = 1  # six pixels for four
    found[1, 2, :1, :1] = 1  # and one of a structure that no image has
    values = evaluate(spec, found, truth, ["p", "q"]).compute()
    assert values["volume_error/core"] == 0.5
    assert math.isnan(values["volume_error/edema"])
    assert values["volume_error"] == 0.5


def test_the_best_round_may_be_chosen_by_it():
    spec = asking(BRIER, "classification", ["a", "b"], select_best="brier")
    assert is_better(spec, "brier", 0.1, 0.2)


def test_a_task_that_can_not_have_it_is_told():
    with pytest.raises(JobError, match="is for tasks that give each pixel a class, not for classif"):
        asking(VOLUMES, "classification", ["a", "b"])


def test_an_unknown_one_is_told_which_there_are():
    with pytest.raises(JobError, match=r"\[evaluation\] metrics, entry 1 name: unknown name .*brier"):
        asking([{"name": "briar"}], "classification", ["a", "b"])


def test_a_name_stands_there_once():
    with pytest.raises(JobError, match="metrics: a name appears twice"):
        asking(BRIER * 2, "classification", ["a", "b"])


def test_a_job_without_any_keeps_its_digest():
    with_none = make_job(evaluation_metrics=[])
    assert with_none.digest() == make_job().digest()
    assert '"metrics"' not in with_none.canonical()


def test_a_metric_below_zero_is_taken_where_it_says_that_it_may_be(monkeypatch):
    monkeypatch.setattr(Brier, "values", lambda *_: (torch.full((10, 1), -0.5), None))
    spec = JOBS["brier"]
    logits, targets = predictions(spec, 10, seed=1)
    states = evaluate(spec, logits, targets, [f"p{i}" for i in range(10)]).pack()
    answer = Evaluation(states, 10, 1.0)
    described = Description("a", {"val": 10}, {"val": 10})
    with pytest.raises(MessageError, match="'brier' that its own counts can't give"):
        check_evaluation(answer, described, "val", GroupedMetrics.of(make_task(spec), None, "val"), spec)
    monkeypatch.setattr(Brier, "signed", True)
    found = GroupedMetrics.of(make_task(spec), None, "val")
    check_evaluation(answer, described, "val", found, spec)
    assert found.whole.compute()["brier"] == pytest.approx(-0.5)


def test_values_of_another_shape_are_refused_with_the_name_of_the_metric(monkeypatch):
    monkeypatch.setattr(Brier, "values", lambda *_: (torch.zeros(10), None))
    spec = JOBS["brier"]
    logits, targets = predictions(spec, 10, seed=1)
    with pytest.raises(
        WardroundError, match=r"'brier': gives values of shape \(10,\) for a batch, not \(10, 1\)"
    ):
        evaluate(spec, logits, targets, [f"p{i}" for i in range(10)])
