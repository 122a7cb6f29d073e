"""Attacks on a model: their figures, on scores and on models of which the answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from client.data.manifest.splits import CohortKey, Split
from client.data.samples.site_data import SiteData
from client.membership.attacks import confidences, image_losses, likelihood_ratio
from client.membership.audit import RATIO, THRESHOLD, audit_model
from client.membership.copies import find_copies
from client.membership.figures import leak
from client.membership.population import Population
from client.membership.shadows import halves, train_model
from shared.errors import DataError, JobError
from shared.networks.build import Networks, build_model
from shared.tasks import make_task
from tests.batches import predict, sample_losses
from tests.conftest import write_dataset
from tests.every_task import write_for_every_task

DELTA = 1e-5

SPLIT = Split(CohortKey.drawn(0))


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=30), st.lists(st.integers(0, 5), min_size=2, max_size=30)
)
def test_the_area_is_that_of_scikit_learn(members, others) -> None:
    found = leak(np.array(members, float), np.array(others, float), DELTA)
    truth = [1] * len(members) + [0] * len(others)
    assert found.auc == pytest.approx(roc_auc_score(truth, members + others))
    low, high = found.auc_interval
    assert 0 <= low <= high <= 1


def test_guessing_shows_nothing() -> None:
    """The interval covers one half in about 19 of 20 cases, and no epsilon is shown."""
    generator = np.random.default_rng(0)
    leaks = [leak(generator.normal(size=80), generator.normal(size=80), DELTA) for _ in range(40)]
    assert sum(one.auc_interval[0] <= 0.5 <= one.auc_interval[1] for one in leaks) >= 33
    assert sum(one.epsilon > 0 for one in leaks) <= 2


def test_what_is_shown_of_the_gaussian_mechanism_is_less_than_it_costs() -> None:
    """Scores N(1, s) and N(0, s) are what epsilon 1 at 1e-5 allows with s = 3.73 (Balle and Wang 2018)."""
    generator = np.random.default_rng(1)
    found = [
        leak(generator.normal(1, 3.73, 200), generator.normal(0, 3.73, 200), DELTA).epsilon for _ in range(10)
    ]
    assert sum(epsilon > 1 for epsilon in found) <= 1
    certain = leak(np.ones(300), np.zeros(300), DELTA)
    assert (certain.auc, certain.tpr) == (1, 1)
    assert certain.epsilon > 3.5


def test_the_rate_of_true_positives_counts_no_false_one_where_patients_are_few() -> None:
    found = leak(np.array([0.0, 2.0, 3.0, 4.0]), np.linspace(0, 2, 100), DELTA)
    assert found.tpr == 0.5  # 3 and 4; 2 is no higher than the highest of the others
    assert found.fpr_above == pytest.approx(1 - 0.025 ** (1 / 100))


def test_confidences_are_log_odds() -> None:
    probabilities = np.array([0.01, 0.5, 0.999])
    odds = np.log(probabilities / (1 - probabilities))
    assert confidences(-np.log(probabilities)) == pytest.approx(odds)
    assert np.isfinite(confidences(np.array([0.0, 1e9]))).all()


def test_every_patient_is_in_half_of_the_shadow_models() -> None:
    insides = np.stack(list(halves(31, 6, seed=3)))
    assert (insides.sum(0) == 3).all()
    assert not (insides[0] == insides[2]).all()


def test_the_ratio_asks_how_hard_a_patient_is() -> None:
    """An easy patient who was not trained on scores below a hard one who was."""
    generator = np.random.default_rng(2)
    hard = np.array([0.0, 5.0])  # the confidence without training
    inside = np.stack(list(halves(2, 40, seed=1)))
    shadows = hard + 3.0 * inside + generator.normal(0, 0.5, (40, 2))
    scores = likelihood_ratio(np.array([3.0, 5.0]), shadows, inside)
    assert scores[0] > 4
    assert abs(scores[1]) < 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Return the manifest of one hospital with 36 patients, a third of them for training."""
    return write_for_every_task(tmp_path_factory.mktemp("membership") / "data", ("alpha",), patients=36)


def audit(job, manifest, *, rounds: int):
    population = Population.of(SiteData.load(manifest, job, site="alpha", split=SPLIT), job)
    members = population.chosen(population.members)
    device = torch.device("cpu")
    model = train_model(job, members, name="target", rounds=rounds, device=device, statistics={}, files={})
    return audit_model(model, job, population, rounds=rounds, shadows=4, statistics={}, files={})


OVERFIT = {"training_local_epochs": 8, "training_batch_size": 4, "data_augment": []}
PRIVATE = {
    "privacy_mechanism": "dp-sgd",
    "privacy_epsilon": 1.0,
    "strategy_weight": "equal",
    "training_optimizer": "sgd",
}


OF_TASK = {
    "segmentation": {"model_norm": "group"},
    "classification": {"model_norm": "group"},
    "survival": {"data_augment": None, "task_scaling": {"age": [60.0, 12.0], "grade": [2.0, 0.8]}},
    "detection": {},
    "generation": {"task_penalty": 0.0},
    "restoration": {},
    "regression": {"task_scaling": {"age": [60.0, 12.0]}},
}


@pytest.mark.parametrize("task", OF_TASK)
def test_every_task_is_audited_plain_and_private(task, tiny_job, dataset) -> None:
    changes = {"training_batch_size": 4, "data_augment": [], "task_name": task} | OF_TASK[task]
    plain = audit(tiny_job(**changes), dataset, rounds=2)
    private = audit(tiny_job(**changes, **PRIVATE), dataset, rounds=1)
    for found in (plain, private):
        assert (found.members, found.others, found.shadows) == (12, 24, 4)
        assert set(found.leaks) == {THRESHOLD, RATIO}
        assert all(
            0 <= one.auc_interval[0] <= one.auc <= one.auc_interval[1] <= 1 for one in found.leaks.values()
        )
    assert private.leaks[RATIO].epsilon <= 1


def test_a_patients_loss_is_the_mean_over_the_images(tiny_job, dataset) -> None:
    job = tiny_job()
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    losses = np.arange(len(population.samples), dtype=float)
    for index, value in enumerate(population.by_patient(losses)):
        assert value == losses[population.owners == index].mean()
    trained_on = {
        population.samples.patients[i]
        for i, owner in enumerate(population.owners)
        if population.members[owner]
    }
    assert trained_on == {f"alpha-{number}" for number in range(0, 36, 3)}


def test_an_images_loss_does_not_depend_on_the_others(tiny_job, dataset) -> None:
    job = tiny_job(model_norm="batch")
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    members = population.chosen(population.members)
    model = train_model(job, members, name="t", rounds=1, device=torch.device("cpu"), statistics={}, files={})
    losses = image_losses(model, job, population)
    task, last = make_task(job), population.samples.batch([71])
    alone = sample_losses(task, predict(task, model, last["image"]).double(), last["mask"])
    assert losses.shape == (72,)
    assert losses[71] == pytest.approx(float(alone), rel=1e-5)


class Draws(torch.nn.Module):
    """Draws images of a batch, with a little noise."""

    def __init__(self, images: torch.Tensor, noise: float) -> None:
        super().__init__()
        self.images, self.noise = torch.nn.Parameter(images), noise

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        chosen = (1000 * vectors.sum(dim=1).abs()).long() % len(self.images)
        noise = torch.randn(self.images[chosen].shape, generator=torch.Generator().manual_seed(1))
        return (self.images[chosen].clamp(0.01, 0.99) + self.noise * noise).clamp(0.01, 0.99).logit()


def test_copies_of_patients_who_were_trained_on_are_found(tiny_job, dataset) -> None:
    job = tiny_job(task_name="generation", data_augment=None)
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    images = population.samples.batch(range(len(population.samples)))["image"]
    inside = torch.from_numpy(population.members[population.owners])
    found = {
        name: find_copies(Networks({"generator": Draws(own, 0.01)}), job, population)
        for name, own in {
            "trained": images[inside],
            "held out": images[~inside],
            "mean": images.mean(0)[None],
        }.items()
    }
    assert found["trained"].ratio_interval[1] < 0.5
    assert found["held out"].ratio_interval[0] > 1
    low, high = found["mean"].ratio_interval
    assert low <= found["mean"].ratio <= high
    assert 0.8 < found["mean"].ratio < 1.25
    assert find_copies(build_model(tiny_job()), tiny_job(), population) is None


def test_images_without_a_label_have_no_loss_to_look_at(tiny_job, dataset) -> None:
    job = tiny_job(task_unlabelled={"method": "fixmatch"})
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    with pytest.raises(JobError, match="one without a label has none"):
        audit_model(torch.nn.Identity(), job, population, rounds=1, shadows=4, statistics={}, files={})


def test_a_loss_that_compares_patients_is_refused(tiny_job, dataset) -> None:
    job = tiny_job(task_name="survival", task_loss="cox", task_intervals=None)
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    with pytest.raises(JobError, match="compares patients with each other, and so says little about one"):
        audit_model(torch.nn.Identity(), job, population, rounds=1, shadows=4, statistics={}, files={})


def test_a_loss_that_float32_rounds_to_none_is_told_from_a_smaller_one(tiny_job, dataset) -> None:
    """Who is learnt by heart has losses near 0, whose order is what an attack looks at."""
    job = tiny_job(task_name="classification", **OVERFIT)
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    model = build_model(job)
    with torch.no_grad():
        logits = model(population.samples.batch(range(len(population.samples)))["image"])
        for parameter in list(model.parameters())[-2:]:  # of the last layer, whose answers are then sure
            parameter.mul_(25 / (logits[:, 1] - logits[:, 0]).abs().median())
    losses = image_losses(model, job, population)
    sure = losses[losses < 1e-8]
    assert len(sure) > 10
    assert len(set(sure)) > len(sure) / 2


def test_too_few_patients_are_refused(tiny_job, tmp_path) -> None:
    manifest = write_dataset(tmp_path / "few", ("alpha",), patients=9)
    job = tiny_job()
    with pytest.raises(DataError, match="has 3 patients that were trained on, and an attack needs"):
        Population.of(SiteData.load(manifest, job, site="alpha", split=SPLIT), job)


def test_an_odd_number_of_shadow_models_is_refused(tiny_job, dataset) -> None:
    job = tiny_job()
    population = Population.of(SiteData.load(dataset, job, site="alpha", split=SPLIT), job)
    with pytest.raises(JobError, match="5 shadow models"):
        audit_model(torch.nn.Identity(), job, population, rounds=1, shadows=5, statistics={}, files={})
