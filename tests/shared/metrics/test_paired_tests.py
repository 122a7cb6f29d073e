"""Whether two models differ on the same patients, against what the papers' formulas give."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from shared.batch import Batch
from shared.metrics.bootstrap import Bootstrap
from shared.metrics.holm import holm
from shared.metrics.paired_tests import Judged, auroc_influence, differences
from shared.tasks import make_task
from tests.jobs import make_job
from tests.shared.metrics.test_replicates import tables_of

CLASSIFY = {"task_name": "classification", "task_classes": ["well", "ill"]}


def de_long(truth, scores):
    """Return the structural components of an AUROC, pair by pair (DeLong et al. 1988, equation 4)."""
    more = np.sign(scores[truth][:, None] - scores[~truth][None, :]) / 2 + 0.5
    return more.mean(axis=1), more.mean(axis=0)


def test_the_auroc_of_two_models_has_de_longs_test():
    generator = np.random.default_rng(1)
    truth = generator.random(60) < 0.4
    scores = [np.round(truth * skill + generator.normal(size=60), 1) for skill in (0.4, 1.4)]
    parts = [de_long(truth, own) for own in scores]
    gain = parts[1][0].mean() - parts[0][0].mean()
    variance = sum(np.var(parts[1][k] - parts[0][k], ddof=1) / len(parts[0][k]) for k in (0, 1))
    task = make_task(make_job(**CLASSIFY))
    judged = []
    for own in scores:
        logits = torch.from_numpy(np.stack([-own / 2, own / 2], axis=1))
        tables = tables_of(task, {"logits": logits}, label=torch.from_numpy(truth.astype(int)))
        judged.append(Judged(task.metrics(task.fine_edges()), [tables]))
    found = differences(*judged, Bootstrap(60, 10, 1), np.zeros((1, 60), bool))["auroc"]
    assert found.test == "DeLong"
    assert found.value == pytest.approx(gain, abs=1e-3)  # the scores are in fine bins
    assert found.p == pytest.approx(2 * norm.sf(gain / np.sqrt(variance)), rel=0.05)
    assert found.low < gain < found.high


def test_images_of_a_patient_count_as_one():
    """As often as all images are there, so sure would one be who took them for patients."""
    generator = np.random.default_rng(2)
    truth = np.arange(40) % 3 == 0
    scores = truth + generator.normal(size=40)
    single = auroc_influence(np.arange(40), truth, scores, 40)
    tenfold = auroc_influence(np.repeat(np.arange(40), 10), np.repeat(truth, 10), np.repeat(scores, 10), 40)
    assert tenfold == pytest.approx(single)


def answers(task, right):
    """Return the test of a model that is right or wrong about each patient; the half of them are ill."""
    truth = np.arange(len(right)) % 2
    chosen = np.where(right, truth, 1 - truth)
    logits = torch.nn.functional.one_hot(torch.from_numpy(chosen), 2).double() * 4 - 2
    return Judged(
        task.metrics(task.fine_edges()), [tables_of(task, {"logits": logits}, label=torch.from_numpy(truth))]
    )


def test_accuracy_has_the_p_of_an_exact_sign_test():
    """Of patients about whom one model alone is right, a permutation asks what McNemar's exact test asks."""
    task = make_task(make_job(**CLASSIFY))
    first, second = np.ones(30, bool), np.ones(30, bool)
    first[:9], second[9:11] = False, False
    swaps = np.random.default_rng(0).random((4000, 30)) < 1 / 2
    draws = Bootstrap(30, 10, 1)
    found = differences(answers(task, first), answers(task, second), draws, swaps)["accuracy"]
    assert found.test == "permutation"
    assert found.value == pytest.approx(7 / 30)
    assert found.p == pytest.approx(binomtest(2, 11).pvalue, abs=0.02)


def test_pairs_of_patients_are_of_both_models_answers():
    """Survival compares patients: a permutation gives what a test with these answers would."""
    task = make_task(make_job(task_name="survival", task_intervals=[1.0, 2.0, 4.0]))
    generator = torch.Generator().manual_seed(3)
    event = torch.stack([torch.rand(20, generator=generator) * 5, torch.ones(20)], dim=1)
    logits = [torch.randn(20, 3, generator=generator) for _ in range(2)]
    swaps = np.random.default_rng(0).random((40, 20)) < 1 / 2

    def judged(one):
        tables = tables_of(task, {"logits": one}, event=event)
        return Judged(task.metrics(task.fine_edges()), [tables])

    def gain(first, second):
        return differences(judged(first), judged(second), Bootstrap(20, 10, 1), None)["concordance"].value

    changed = [torch.from_numpy(swap)[:, None] for swap in swaps]
    chance = [gain(torch.where(own, *logits[::-1]), torch.where(own, *logits)) for own in changed]
    as_large = np.abs(chance) >= abs(gain(*logits)) - 1e-9
    found = differences(judged(logits[0]), judged(logits[1]), Bootstrap(20, 10, 1), swaps)
    assert found["concordance"].test == "permutation"
    assert found["concordance"].p == (as_large.sum() + 1) / 41


def test_what_is_not_in_the_same_units_is_not_permuted():
    task = make_task(make_job(**CLASSIFY))
    right = np.arange(20) > 3
    found = differences(answers(task, right), answers(task, ~right), Bootstrap(20, 50, 1), None)
    assert {name: own.test for name, own in found.items()}["accuracy"] == "bootstrap"


def test_several_classes_have_the_mean_of_their_moves():
    job = make_job(task_name="classification", task_classes=["a", "b", "c"])
    task, generator = make_task(job), torch.Generator().manual_seed(0)
    labels = torch.randint(3, (30,), generator=generator)
    metrics = task.metrics(task.fine_edges())
    batch = Batch({"label": labels}, [f"p{i}" for i in range(30)])
    task.update(metrics, {"logits": torch.randn(30, 3, generator=generator)}, batch, torch.zeros(30))
    moves = metrics.influences([metrics.patient_tables()])["auroc"]
    assert moves.shape == (30,)
    assert moves.sum() == pytest.approx(0, abs=0.05)


def test_holm_is_as_in_the_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_corrected_p_is_never_smaller_and_keeps_the_order(p):
    found = holm(p)
    assert all(own >= min(one, 1.0) - 1e-12 for one, own in zip(p, found, strict=True))
    assert [found[i] for i in np.argsort(p, kind="stable")] == sorted(found)
