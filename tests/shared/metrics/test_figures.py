"""What a test's states show: the curves are those of the metrics beside them."""

import numpy as np
import pytest
import torch

from shared.batch import Batch
from shared.metrics.figures import MOST_POINTS, thinned
from shared.tasks import make_task
from tests.jobs import make_job


def judged(job, images: int = 400):
    """Return metrics of a model that is right more often than not, with fine bins."""
    task = make_task(job)
    metrics = task.metrics(task.fine_edges())
    generator = torch.Generator().manual_seed(3)
    truth = torch.randint(0, len(job.task.classes), (images,), generator=generator)
    logits = torch.randn(images, len(job.task.classes), generator=generator)
    logits[torch.arange(images), truth] += 1.0
    names = [f"p{number}" for number in range(images)]
    batch = Batch({"label": truth}, names)
    metrics.update({"logits": logits}, batch, torch.ones(images))
    return metrics, truth, logits


@pytest.mark.parametrize("classes", [["no", "yes"], ["a", "b", "c"]])
def test_the_area_under_the_curve_is_the_auroc(classes):
    metrics, _, _ = judged(make_job(task_name="classification", task_classes=classes))
    figures = {figure.name: figure for figure in metrics.figures()}
    values = metrics.compute()
    for name in classes if len(classes) > 2 else classes[1:]:
        line = np.array([point[1:] for point in figures["roc"].points if point[0] == name])
        expected = values["auroc" if len(classes) == 2 else f"auroc/{name}"]
        assert np.trapezoid(line[:, 1], line[:, 0]) == pytest.approx(expected, abs=0.005)


def test_the_confusion_matrix_counts_every_image():
    metrics, truth, logits = judged(make_job(task_name="classification", task_classes=["no", "yes"]))
    [figure] = [one for one in metrics.figures() if one.name == "confusion"]
    found = logits.argmax(dim=1)
    for row, column, number in figure.points:
        kind = ["no", "yes"].index
        assert number == int(((truth == kind(row)) & (found == kind(column))).sum())


def test_a_rehearsal_says_which_class_was_taken_for_which():
    job = make_job(task_name="classification", task_classes=["a", "b", "c"])
    metrics, truth, logits = judged(job)
    task = make_task(job)
    figures = list(task.metrics(task.fine_edges()).patient_figures({"alpha": metrics.patient_tables()}))
    same = {figure.name: figure for figure in metrics.figures()}
    assert figures[:2] == [same["roc"], same["precision-recall"]]
    [figure] = figures[2:]
    found = logits.argmax(dim=1)
    for row, column, number in figure.points:
        pair = (truth == "abc".index(row)) & (found == "abc".index(column))
        assert number == int(pair.sum())


def test_nothing_is_drawn_of_nobody():
    job = make_job(task_name="classification")
    assert list(make_task(job).metrics().figures()) == []


def test_a_long_line_keeps_its_ends_and_its_shape():
    along = np.linspace(0, 1, 5001)
    points = np.array(thinned(along, np.sqrt(along)))
    assert len(points) <= MOST_POINTS
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert np.abs(np.interp(along, points[:, 0], points[:, 1]) - np.sqrt(along)).max() < 0.01
