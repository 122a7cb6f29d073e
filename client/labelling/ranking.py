"""The rows of a manifest that nobody has labelled, in the order in which labels would teach most."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from client.data.kinds import Kind, kinds_of
from client.data.manifest.rows import Manifest, Record
from client.data.samples.site_data import Samples
from client.labelling.core_set import farthest_first
from client.labelling.scores import disagreement_of, drawn_answers, entropy_of
from client.predict.answering import Predictor, Said
from shared.batch import Batch, Prediction
from shared.errors import DataError, RunError
from shared.networks.features import last_features
from shared.seeds import seed_of
from shared.tasks.answers import Answer
from shared.tasks.classes import classified_by

By = Literal["entropy", "bald", "core-set", "random"]
Track = Callable[[Iterable[Said], int], Iterable[Said]]
_SCORE, _FEATURES = "score", "features"


@dataclass(frozen=True)
class Ranked:
    """A row to label.

    Attributes:
        score: Bits, or a distance: the more, the earlier; of rows in random order it says nothing.
        answer: What the model says of it.
    """

    record: Record
    score: float
    answer: Answer


@dataclass(frozen=True)
class Ranking:
    """What is to be labelled.

    Attributes:
        rows: The first of them, in their order.
        unlabelled: Rows that were ranked.
        labelled: Rows that have a label.
        problems: Why rows could not be used.
    """

    rows: Sequence[Ranked]
    unlabelled: int
    labelled: int
    problems: Sequence[DataError]


@dataclass(frozen=True)
class _Scored(Answer):
    score: float = 0.0
    vector: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Ranker(Predictor):
    """Says of each row how little the model knows of it."""

    by: By = "entropy"

    def run(self, samples: Samples) -> Iterator[tuple[Batch, Prediction]]:
        """See the base class; with what rows are ranked by.

        Raises:
            RunError: The network has no features to compare, or no dropout.
        """
        several = classified_by(self.job)[1].several
        with last_features(list(self.models.values())) as seen:
            for number, (batch, predicted) in enumerate(super().run(samples)):
                features = seen[0].detach().double().cpu() if seen else None
                if self.by == "core-set" and features is None:
                    raise RunError(
                        "the network ends in no linear layer, which would have features to compare",
                        where="--by core-set",
                        remedy="Take --by entropy.",
                    )
                score = entropy_of(predicted, several=several)
                if self.by == "bald":
                    seed = seed_of(self.job.job.seed, "bald", number)
                    drawn = drawn_answers(self.task, self.models, batch, seed)
                    score = disagreement_of(drawn, several=several)
                none = torch.empty(len(batch), 0, dtype=torch.float64)
                yield batch, {**predicted, _SCORE: score, _FEATURES: none if features is None else features}

    def answers_of(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """See the base class."""
        rest = {name: value for name, value in predicted.items() if name not in (_SCORE, _FEATURES)}
        pairs = zip(
            super().answers_of(batch, rest), predicted[_SCORE].tolist(), predicted[_FEATURES], strict=True
        )
        return [_Scored(own.cells, score=score, vector=vector) for own, score, vector in pairs]


def ranked(
    predictor: Predictor,
    manifest: Manifest,
    by: By,
    count: int,
    track: Track = lambda said, _: said,
) -> Ranking:
    """Rank the unlabelled rows of a manifest.

    Args:
        predictor: The model.
        manifest: A row without a label, or mask, is unlabelled; so are all where there is no such column.
        by: The entropy of the model's answer, what its dropout disagrees about, the distance of its features
            to those of all labelled rows, or nothing: an order drawn from the seed of the job.
        count: Rows that are wanted, at most.
        track: Wraps the rows, to show progress.

    Raises:
        RunError: The task gives no classes, or the model can't say what is asked: of pixels no features.
    """
    require_classes(predictor)
    if by == "core-set" and classified_by(predictor.job)[1].kind == "mask":
        raise RunError(
            "each pixel has a class, and no layer makes one vector of an image from which these follow",
            where="--by core-set",
            remedy="Take --by entropy.",
        )
    kinds = kinds_of(predictor.job)
    target = kinds[classified_by(predictor.job)[0]]
    ranker = Ranker(predictor.job, predictor.task, predictor.models, by=by)
    asked = [record for record in manifest.records if not target.is_given(record)]
    known = [record for record in manifest.records if target.is_given(record)]
    inputs = {name: kind for name, kind in kinds.items() if kind.field.role == "input"}
    found, problems = _scored(ranker, replace(manifest, records=asked), inputs, track)
    centres = np.empty((0, 0))
    if by == "core-set" and known:
        labelled, more = _scored(ranker, replace(manifest, records=known), inputs, track)
        problems += more
        centres = np.stack([answer.vector.numpy() for _, answer in labelled]) if labelled else centres
    rows = _ordered(found, centres, by, count, predictor.job.job.seed)
    return Ranking(rows, len(found), len(known), [*manifest.problems, *problems])


def require_classes(predictor: Predictor) -> None:
    """Make sure that a run's model gives images classes.

    Raises:
        RunError: It does not.
    """
    if predictor.job.task.classified() is None:
        raise RunError(
            f"the task '{predictor.job.task.name}' gives no classes of which a model could be unsure",
            remedy="Take a run of a classification or a segmentation.",
        )


def _scored(
    ranker: Ranker, manifest: Manifest, kinds: Mapping[str, Kind], track: Track
) -> tuple[list[tuple[Record, _Scored]], list[DataError]]:
    found, problems = [], []
    for said in track(ranker.answers(manifest, kinds), len(manifest.records)):
        if isinstance(said.answer, _Scored):
            found.append((said.record, said.answer))
        elif said.problem is not None:
            problems.append(said.problem)
    return found, problems


def _ordered(
    found: Sequence[tuple[Record, _Scored]], centres: np.ndarray, by: By, count: int, seed: int
) -> list[Ranked]:
    if by == "core-set":
        vectors = np.stack([answer.vector.numpy() for _, answer in found]) if found else np.empty((0, 0))
        chosen = farthest_first(vectors, centres, count)
    elif by == "random":
        order = np.random.default_rng(seed_of(seed, "label")).permutation(len(found))[:count]
        chosen = [(int(place), float("nan")) for place in order]
    else:
        scores = np.array([answer.score for _, answer in found])
        chosen = [(int(place), float(scores[place])) for place in np.argsort(-scores, kind="stable")[:count]]
    return [Ranked(found[place][0], score, found[place][1]) for place, score in chosen]
