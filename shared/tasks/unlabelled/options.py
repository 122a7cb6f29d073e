"""What a job may say about training rows whose label or mask is empty; loads no PyTorch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.method_keys import MethodKey, MethodTable
from shared.table import later_key
from shared.tasks.fields import UNKNOWN_PIXEL

if TYPE_CHECKING:
    from shared.tasks.options import ClassesOptions

_KEYS = {
    "weight": MethodKey(("mean-teacher", "fixmatch"), 1.0),
    "ramp_rounds": MethodKey(("mean-teacher", "fixmatch"), 5),
    "threshold": MethodKey(("fixmatch",), 0.95),
    "decay": MethodKey(("mean-teacher",), 0.99),
}


class UnlabelledTable(MethodTable):
    """`[task.unlabelled]`: what becomes of training rows whose label, or mask, is empty.

    A network learns to say of a changed image what its teacher says of the image itself. The teacher is the
    global model of the round, and is not trained; with 'mean-teacher' it follows the network's steps.
    """

    method_keys: ClassVar[Mapping[str, MethodKey]] = _KEYS

    method: Literal["leave-out", "mean-teacher", "fixmatch"] = Field(
        description="'leave-out' trains on the labelled rows alone. 'mean-teacher' lets all rows agree with "
        "an average of the round's models (Tarvainen and Valpola 2017), 'fixmatch' the unlabelled ones "
        "with what the last global model is sure of (Sohn et al. 2020).",
    )
    weight: float | None = _KEYS["weight"].field(
        "weight of the agreement, beside the loss of labels", ge=0.001, le=1000
    )
    ramp_rounds: int | None = _KEYS["ramp_rounds"].field(
        "rounds over which this weight rises from near 0", ge=0, le=100_000
    )
    threshold: float | None = _KEYS["threshold"].field(
        "the least probability of a class (of a pixel's class) that is learnt from", gt=0, lt=1
    )
    decay: float | None = _KEYS["decay"].field("share of the teacher that each step leaves", ge=0, lt=1)

    @property
    def learns(self) -> bool:
        """Whether unlabelled rows are trained on."""
        return self.method != "leave-out"

    @property
    def teacher_decay(self) -> float | None:
        """Share of the teacher that each step leaves, 1 for one that stays; None where nobody teaches."""
        if self.method == "mean-teacher":
            return float(self.value_of("decay"))
        return 1.0 if self.learns else None


UNLABELLED = later_key(
    None,
    description="What becomes of training rows without a label or mask, in a table of its own.",
)
"""The key `unlabelled` of a task's options."""


def unlabelled_problems(options: "ClassesOptions") -> Iterator[str]:
    """Yield what rows without labels can't be had with."""
    if options.unlabelled is None:
        return
    target = options.classified()[1]
    if target.several:
        yield (
            "[task.unlabelled]: with several labels per image an empty cell says that it has none, so no "
            "row is unlabelled"
        )
    if target.kind == "mask" and 1 + len(target.classes) > UNKNOWN_PIXEL:
        yield f"[task.unlabelled]: is for at most {UNKNOWN_PIXEL - 1} structures"
    if not options.unlabelled.learns:
        return
    inputs = [own.kind for own in options.fields().values() if own.role == "input"]
    if inputs != ["image"]:
        yield (
            "[task.unlabelled] method: the changes that a network learns to overlook are of single images, "
            "not of records, bags or series; take 'leave-out'"
        )
