"""What is unusual, from sums of sites, as from all features together."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score

from shared.batch import Batch
from shared.errors import JobError
from shared.further_metrics.familiar import Familiar
from shared.further_metrics.feature_moments import FEATURES
from shared.networks.features import projected
from shared.tasks import make_task
from tests.jobs import make_job

CLASSES, NUMBER = 3, 5


def job_of(number: int = NUMBER):
    asked = [{"name": "feature_moments", "features": number}]
    return make_job(task_name="classification", task_classes=["a", "b", "c"], evaluation={"metrics": asked})


def drawn(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    spread = rng.normal(size=(count, NUMBER)) * [0.02, 0.05, 0.1, 0.05, 0.03]
    centres = np.eye(CLASSES, NUMBER) * 0.7
    return torch.from_numpy(centres[labels] + spread).float(), torch.from_numpy(labels)


def sums(features: torch.Tensor, labels: torch.Tensor):
    task, names = make_task(job_of()), [str(number) for number in range(len(labels))]
    metrics, logits = task.metrics(), 4 * torch.nn.functional.one_hot(labels, CLASSES).float()
    batch = Batch({"label": labels}, names)
    predicted = {"logits": logits, FEATURES: features}
    task.update(metrics, predicted, batch, task.sample_losses({}, batch, predicted))
    return metrics


def test_sums_of_sites_give_the_distances_of_all_features_together() -> None:
    features, labels = drawn(400, 1)
    pooled = make_task(job_of()).metrics()
    for part in (slice(0, 90), slice(90, 400)):
        pooled.merge(sums(features[part], labels[part]).pack())
    job = job_of()
    familiar = Familiar.of(job.evaluation.metrics[0], job.task, pooled.metrics["feature_moments"].compute())
    own, classes = features.double().numpy(), labels.numpy()
    means = np.stack([own[classes == label].mean(axis=0) for label in range(CLASSES)])
    within = np.cov((own - means[classes]).T, bias=True)
    asked, _ = drawn(20, 2)
    inverse = np.linalg.inv(within)
    true = [min(mahalanobis(one, mean, inverse) for mean in means) for one in asked.double().numpy()]
    np.testing.assert_allclose(familiar.distances(asked), true, rtol=0.01)
    assert pooled.compute()["feature_moments"] == pytest.approx(np.trace(within), rel=1e-6)


def test_what_is_far_or_undecided_is_unusual() -> None:
    features, labels = drawn(400, 1)
    job = job_of()
    columns = sums(features, labels).metrics["feature_moments"].compute()
    familiar = Familiar.of(job.evaluation.metrics[0], job.task, columns)
    near, _ = drawn(200, 3)
    far = near + 0.4
    scores = torch.cat([familiar.distances(near), familiar.distances(far)])
    assert roc_auc_score([0] * 200 + [1] * 200, scores) > 0.99
    sure = torch.tensor([[4.0, 0, 0]]).expand(200, 3)
    share = np.mean([cells["unusual"] == "yes" for cells in familiar.cells(near, sure)])
    assert share < 0.05
    assert all(cells["unusual"] == "yes" for cells in familiar.cells(far, sure))
    assert all(cells["unusual"] == "yes" for cells in familiar.cells(near, 0 * sure))


def test_directions_are_of_the_seed_and_keep_lengths_within_one() -> None:
    features = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    found = projected(features, 8, seed=1)
    assert found.shape == (6, 8)
    assert (found.norm(dim=1) <= 1 + 1e-6).all()
    assert torch.equal(found, projected(features, 8, seed=1))
    whole = projected(features, 40, seed=1)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(6))
    more = projected(features, 42, seed=1)
    torch.testing.assert_close(more[:, :40], whole)
    assert not more[:, 40:].any()


def test_masks_have_no_features_of_an_image() -> None:
    with pytest.raises(JobError, match="'feature_moments' is for tasks that give an image one class"):
        make_job(evaluation={"metrics": [{"name": "feature_moments"}]})
