"""Search against a sort by hand, and its figures against scikit-learn's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from client.data.manifest.rows import Manifest, Record
from client.predict.answering import Said
from client.retrieve.embedding import Embedded
from client.retrieve.run import embedded
from client.retrieve.search import Found, goodness, nearest


def vectors(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, 6))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_it_finds_what_scikit_learn_finds() -> None:
    queries, archive = vectors(7, 1), vectors(40, 2)
    found = nearest(queries, archive, 5, ([f"q{n}" for n in range(7)], [f"a{n}" for n in range(40)]))
    distances, places = NearestNeighbors(n_neighbors=5, metric="cosine").fit(archive).kneighbors(queries)
    np.testing.assert_array_equal([one.places for one in found], places)
    np.testing.assert_allclose([1 - one.likeness for one in found], distances, atol=1e-12)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 5))
def test_nobody_finds_himself(patients: list[str], count: int) -> None:
    own = vectors(len(patients), 3)
    for place, one in enumerate(nearest(own, own, count, (patients, patients))):
        others = [patient for patient in patients if patient != patients[place]]
        assert len(one.places) == min(count, len(others))
        assert patients[place] not in {patients[other] for other in one.places}
        assert sorted(one.likeness, reverse=True) == one.likeness.tolist()


def test_figures_of_a_whole_ranking_are_scikit_learns() -> None:
    rng = np.random.default_rng(5)
    labels = rng.choice(["x", "y"], 30).tolist()
    own, names = vectors(30, 6), [str(number) for number in range(30)]
    found = nearest(own, own, 29, (names, names))
    told = goodness(found, (labels, labels), (names, names))
    assert told is not None
    averages = []
    for place, one in enumerate(found):
        right = [labels[other] == labels[place] for other in one.places]
        averages.append(average_precision_score(right, one.likeness))
    assert told.mean_average_precision == pytest.approx(np.mean(averages))
    assert told.precision == pytest.approx(told.chance)
    assert (told.recall, told.queries) == (1.0, 30)


def test_a_query_without_a_label_counts_for_nothing() -> None:
    found = [Found(np.array([0, 1]), np.array([0.9, 0.8]))] * 2
    told = goodness(found, (["x", ""], ["y", "x", "x"]), (["p", "q"], ["a", "b", "c"]))
    assert told is not None
    assert told.queries == 1
    assert (told.precision, told.recall) == (0.5, 1.0)
    assert told.mean_average_precision == pytest.approx(0.25)
    assert told.chance == pytest.approx(2 / 3)
    assert goodness(found, (["", ""], ["y", "x", "x"]), (["p", "q"], ["a", "b", "c"])) is None


def test_an_image_of_which_a_model_makes_no_numbers_is_like_nothing() -> None:
    rows = [Record(row, f"p{row}", ()) for row in (2, 3)]
    vectors = (torch.tensor([0.6, 0.8]), torch.tensor([float("nan"), 0.0]))

    class Diverged:
        def answers(self, manifest: Manifest, kinds: object) -> list[Said]:
            return [Said(row, {}, Embedded({}, vector=own)) for row, own in zip(rows, vectors, strict=True)]

    kept, found, [problem] = embedded(Diverged(), Manifest(Path("m.csv"), (), rows, []), {})
    assert kept == rows[:1]
    assert found.tolist() == [pytest.approx([0.6, 0.8])]
    assert "m.csv, row 3: the model makes no finite numbers of it" in str(problem)
