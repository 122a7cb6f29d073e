"""What a strategy's two halves exchange: named vectors, and how a site trains for its half."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Vector = NDArray[np.float32]
else:
    Vector = Any  # who reads a job needs no NumPy

MODEL = "model"
"""Name of the vector that every strategy sends: the network's."""

Vectors: TypeAlias = Mapping[str, Vector]


def misfit(vectors: Vectors, lengths: Mapping[str, int]) -> str:
    """Return in what named vectors differ from those that were said; nothing where they are these.

    Args:
        vectors: As a strategy gave them.
        lengths: Of each, by name.
    """
    for name in dict.fromkeys([*lengths, *vectors]):
        if name not in vectors:
            return f"'{name}' is missing"
        if name not in lengths:
            return f"there is no '{name}'"
        if vectors[name].shape != (lengths[name],):
            return f"'{name}' has the shape {vectors[name].shape}, not ({lengths[name]},)"
    return ""


Pull = Callable[["Tensor"], "Tensor"]
"""(the trainable parameters as one tensor) -> what is added to the gradient of each step, as long."""


class Trained(NamedTuple):
    """What one training of a round gave.

    Attributes:
        model: Of the network, as long as the one that was given.
        rates: Sum of the learning rates of the steps. Where a step has several phases, that of each trained
            number, as many as `Train.place` gives; infinite for what no phase changes.
        steps: How many there were.
    """

    model: Vector
    rates: float | Vector
    steps: int


class Beside(Protocol):
    """A second model, which learns from the same batches in the same steps (`shared.strategies.apfl`).

    Attributes:
        model: Of the whole network, shape (n,): before the training, and when it is done after it.
    """

    model: Vector

    def point(self, own: "Tensor", now: "Tensor") -> "Tensor":
        """Return where the second gradient of a step is taken.

        Args:
            own: Trainable parameters of the second model.
            now: Those of the first, before its step.
        """

    def step(self, own: "Tensor", now: "Tensor", gradient: "Tensor", rate: float) -> None:
        """Let the second model take its step, in place.

        Args:
            own: As above.
            now: As above.
            gradient: At `point`, with the weight decay of the job.
            rate: Learning rate of the step.
        """


class Contrast(Protocol):
    """What is added to each sample's loss, by how two other models see the sample (`shared.strategies.moon`).

    Attributes:
        towards: The model whose features a sample's should be like, shape (n,).
        away: The one whose they should not.
    """

    towards: Vector
    away: Vector

    def losses(self, features: "Tensor", towards: "Tensor", away: "Tensor") -> "Tensor":
        """Return what is added, (B,), of features (B, N) of the model in training and of the two others."""


class Alignment(Protocol):
    """What is added to each sample's loss, by its features alone (`shared.strategies.coral`)."""

    def losses(self, features: "Tensor") -> "Tensor":
        """Return what is added, (B,), of features (B, N) of the model in training; once for each step."""


class Steps(NamedTuple):
    """How the steps of a training differ from plain ones.

    Attributes:
        pull: Added to the gradient of each; None adds nothing.
        free: Which of the trained numbers are changed, in the order of the packed model; None changes all.
        radius: How far up the gradient the loss is looked at (`shared.strategies.fedsam`); 0 is where it is.
        beside: A second model that learns in the same steps.
        contrast: Added to the loss of each sample.
        alignment: The same; not beside a contrast.
    """

    pull: Pull | None = None
    free: "NDArray[np.bool_] | None" = None
    radius: float = 0.0
    beside: Beside | None = None
    contrast: Contrast | None = None
    alignment: Alignment | None = None


class Train(Protocol):
    """Trains a site's network for a round, on the site's own images, as the job says.

    Attributes:
        left: Rounds that the job has after this one.
    """

    left: int

    def __call__(
        self,
        model: Vector,
        pull: Pull | None = None,
        *,
        free: "NDArray[np.bool_] | None" = None,
        radius: float = 0.0,
        beside: Beside | None = None,
        contrast: Contrast | None = None,
        alignment: Alignment | None = None,
    ) -> Trained:
        """Train from a model; may be called more than once in a round.

        Args:
            model: Of the whole network, shape (n,); it stays as it is.
            pull: Added to the gradient of each step.
            free: Which numbers are changed, see `Steps`; this and what follows not with differential privacy.
            radius: See `Steps`.
            beside: See `Steps`; in a task with one phase, without mixed precision of float16.
            contrast: The same.
            alignment: The same.
        """

    def loss(self, model: Vector) -> float:
        """Return the mean loss of a model on the images that are trained on; nothing is trained.

        For strategies that say so (`tells_loss`), and not with differential privacy.
        """

    def place(self, model: Vector) -> "Tensor":
        """Return the trainable parameters of a vector as a `Pull` gets them.

        Args:
            model: Begins with them; what stands behind is not looked at.
        """


class SiteHalf:
    """What a site does in a round: here, train once and send the model.

    Attributes:
        keeps: Length of each vector that the site keeps for its next round, by name.
    """

    keeps: Mapping[str, int] = {}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Do the work of a round.

        Args:
            train: Trains.
            received: What the coordinator sent.
            kept: From the site's last round; nothing where this is its first.

        Returns:
            What is sent, and what is kept for the next round: all of `keeps`.
        """
        return {MODEL: train(received[MODEL]).model}, {}

    def judged(self, received: Vectors, kept: Vectors) -> Vector:
        """Return the model that is evaluated at this site.

        Args:
            received: What the coordinator sent.
            kept: From the site's last round up to the one that is judged.
        """
        return received[MODEL]
