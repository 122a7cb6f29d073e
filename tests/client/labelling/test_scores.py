"""How little a model knows: entropies and disagreements against the formulas, a cover against brute force."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from client.data.manifest.rows import Manifest
from client.labelling.core_set import farthest_first
from client.labelling.ranking import ranked
from client.labelling.scores import PASSES, disagreements, drawn_answers, entropies, probabilities
from client.predict.answering import Predictor
from shared.batch import Batch
from shared.errors import RunError
from shared.tasks import make_task
from tests.jobs import make_job


def test_a_fair_coin_has_one_bit_and_a_sure_answer_none() -> None:
    fair, sure = torch.zeros(1, 2), torch.tensor([[1000.0, 0.0]])
    assert entropies(probabilities(fair, several=False)).tolist() == pytest.approx([1.0])
    assert entropies(probabilities(sure, several=False)).tolist() == pytest.approx([0.0])
    assert entropies(probabilities(torch.zeros(1, 3), several=True)).tolist() == pytest.approx([3.0])
    maps = torch.cat([torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)])
    maps[1, 0, 0] = 1000.0  # half of the pixels are sure
    assert entropies(probabilities(maps, several=False)).tolist() == pytest.approx([2.0, 1.0])


def test_what_all_passes_are_unsure_of_is_no_disagreement() -> None:
    unsure = torch.full((1, 1, 2), 0.5, dtype=torch.float64)
    one, other = (torch.tensor([[[a, 1 - a]]], dtype=torch.float64) for a in (1.0, 0.0))
    assert disagreements([unsure, unsure]).tolist() == pytest.approx([0.0])
    assert disagreements([one, other]).tolist() == pytest.approx([1.0])
    mixed = torch.tensor([[[0.9, 0.1]]], dtype=torch.float64)
    own = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    mean = -(0.95 * math.log2(0.95) + 0.05 * math.log2(0.05))
    assert disagreements([one, mixed]).tolist() == pytest.approx([mean - own / 2])


def network(dropout: float) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(256), nn.Dropout(dropout), nn.Linear(256, 2)).eval()


def test_passes_leave_units_out_and_nothing_else_changes() -> None:
    task = make_task(make_job(task_name="classification"))
    batch = Batch({"image": torch.randn(3, 1, 16, 16)}, list("abc"))
    model = network(0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = task.predict({"model": model}, batch)["logits"]
    first, second = (drawn_answers(task, {"model": model}, batch, 5) for _ in range(2))
    assert len(first) == PASSES
    assert len({one["logits"].numpy().tobytes() for one in first}) == PASSES
    assert all(torch.equal(one["logits"], two["logits"]) for one, two in zip(first, second, strict=True))
    assert torch.equal(task.predict({"model": model}, batch)["logits"], plain)
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_without_dropout_there_is_nothing_to_disagree_about() -> None:
    task = make_task(make_job(task_name="classification"))
    batch = Batch({"image": torch.randn(3, 1, 16, 16)}, list("abc"))
    with pytest.raises(RunError, match="has no dropout"):
        drawn_answers(task, {"model": network(0.0)}, batch, 5)


@given(st.integers(0, 5), st.integers(1, 12), st.integers(0, 1000))
def test_each_chosen_is_the_farthest_from_all_before(labelled: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, centres = rng.normal(size=(9, 3)), rng.normal(size=(labelled, 3))
    chosen = farthest_first(vectors, centres, count)
    assert len(chosen) == len({place for place, _ in chosen}) == min(count, 9)
    taken = [*centres]
    for number, (place, distance) in enumerate(chosen):
        if taken:
            every = [min(np.linalg.norm(own - other) for other in taken) for own in vectors]
            assert every[place] == pytest.approx(max(every))
            assert distance == pytest.approx(every[place])
        else:
            assert number == 0
            assert np.linalg.norm(vectors - vectors.mean(0), axis=1).argmin() == place
        taken.append(vectors[place])


def test_images_whose_pixels_have_classes_are_not_compared_by_a_layer_that_saw_a_vector() -> None:
    job = make_job(task_name="segmentation")
    predictor = Predictor(job, make_task(job), {"model": nn.Sequential(nn.Linear(2, 2))})
    with pytest.raises(RunError, match="each pixel has a class"):
        ranked(predictor, Manifest(Path("manifest.csv"), [], [], []), "core-set", 5)
