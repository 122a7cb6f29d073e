"""What was chosen of a model on the validation patients: it goes with the model wherever that goes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from shared.errors import RunError
from shared.metrics.curves import LARGEST_EDGE
from shared.table import Table
from shared.tasks import fields

Floats = NDArray[np.float64]

KEY = "decisions"
"""Of `run.json`, and of the description of an export."""


class Isotonic(Table):
    """Probabilities of a class that rise with its logit.

    Attributes:
        edges: Of the bins (B - 1,).
        values: In each bin (B,).
    """

    edges: list[float]
    values: list[float]


class Choice(Table):
    """What was chosen. Scores are logits of a class's probability against all others.

    Attributes:
        round: Whose model it is of.
        images: Validation images behind it.
        thresholds: By class: the logit from which on an image is taken for it.
        temperature: Divides every logit; None where nothing was calibrated so.
        isotonic: The same by curves, by class.
        coverage: Of the prediction sets.
        cuts: By class: the logit from which on it belongs to a set.
        missing: What was asked for and could not be chosen, in words.
    """

    round: int
    images: int
    thresholds: dict[str, float] = Field({})
    temperature: float | None = None
    isotonic: dict[str, Isotonic] = Field({})
    coverage: float | None = None
    cuts: dict[str, float] = Field({})
    missing: list[str] = Field([])

    @classmethod
    def read(cls, told: Any, where: object) -> Self:
        """Read what a run's description says was chosen.

        Raises:
            RunError: It is not what a run writes.
        """
        try:
            return cls.model_validate(told, strict=True)
        except ValidationError as error:
            raise RunError(f"says what was chosen otherwise than a run does ({error})", where=where) from None

    def marks(self, label: fields.Field) -> list[list[float]]:
        """Return logits for each class with curves that shall be edges of the test's bins, the first first.

        At an edge the test counts exactly who is beyond it.
        """
        return [[mark for mark in self._marks(label, k) if abs(mark) < LARGEST_EDGE] for k in label.judged]

    def _marks(self, label: fields.Field, k: int) -> Iterator[float]:
        name = label.classes[k]
        yield from (own[name] for own in (self.thresholds, self.cuts) if name in own)
        if has_mirror(label) and label.classes[0] in self.cuts:
            yield -self.cuts[label.classes[0]]

    def calibrates(self, name: str) -> bool:
        """Say whether probabilities of a class with curves are calibrated."""
        return self.temperature is not None or name in self.isotonic

    def calibrated(self, name: str, logits: Floats) -> Floats:
        """Return the probabilities of a class with curves, calibrated if it is; of the logits' shape."""
        if name in self.isotonic:
            own = self.isotonic[name]
            return np.array(own.values)[np.searchsorted(own.edges, logits, side="right")]
        return sigmoid(logits / (self.temperature or 1.0))

    def cells(self, label: fields.Field, logits: Sequence[float]) -> Iterator[tuple[str, str | float]]:
        """Yield what is said of one image: the name of each cell and its content.

        Args:
            label: What is classified.
            logits: Of each class against all others (K,).
        """
        yield from self._chances(label, logits)
        of_class = dict(zip(label.classes, logits, strict=True))
        if self.thresholds:
            above = [name for name, least in self.thresholds.items() if of_class[name] >= least]
            if has_mirror(label) and not above:
                above = [label.classes[0]]
            yield "at_operating_point", "|".join(above)
        if self.cuts:
            yield "prediction_set", "|".join(name for name, cut in self.cuts.items() if of_class[name] >= cut)

    def _chances(self, label: fields.Field, logits: Sequence[float]) -> Iterator[tuple[str, float]]:
        chances = {
            label.classes[k]: float(self.calibrated(label.classes[k], np.array(logits[k])))
            for k in label.judged
            if self.calibrates(label.classes[k])
        }
        if has_mirror(label) and chances:
            chances = {label.classes[0]: 1 - chances[label.classes[1]], **chances}
        yield from ((f"calibrated/{name}", chance) for name, chance in chances.items())


def has_mirror(label: fields.Field) -> bool:
    """Say whether there are two classes of which each is the other's absence: one has curves."""
    return len(label.judged) < len(label.classes)


def sigmoid(logits: Floats) -> Floats:
    """Return probabilities, of the shape of their logits."""
    return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))


def choice_of(description: Mapping[str, Any], where: object) -> Choice | None:
    """Return what a run has chosen, as its `run.json` says it; None where the job did not ask for it.

    Raises:
        RunError: It is not what a run writes.
    """
    told = description.get(KEY)
    return None if told is None else Choice.read(told["chosen"], where)
