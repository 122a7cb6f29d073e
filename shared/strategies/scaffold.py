"""SCAFFOLD: control variates take out of each site's steps what leads them away from the others'."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

CONTROL = "control"
"""Name of the control variate: the coordinator's c where it travels, the site's c_i where it is kept."""


class Scaffold(StrategyOptions):
    """Control variates against drift; plain SGD, and two vectors travel (Karimireddy et al. 2020)."""

    at_site: ClassVar[str] = "sends the mean gradient of a round beside the model, and keeps it for the next"

    name: Literal["scaffold"]
    server_learning_rate: float = Field(1.0, gt=0, description="Step along the averaged update.")

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what would make a site's control variate something else than its mean gradient."""
        from shared.job_parts import phases_of
        from shared.strategies.kept_whole import cut_down

        training = job.training
        if any(own.optimizer != "sgd" or own.momentum for own in phases_of(job).values()):
            yield (
                "[training] optimizer: must be 'sgd' with momentum = 0.0 under 'scaffold', which reads the "
                "site's mean gradient from the way its model went"
            )
        if any(own.gradient_clip is not None for own in phases_of(job).values()):
            yield (
                "[training] gradient_clip: can't be used with 'scaffold', which would take what is left for "
                "the site's mean gradient"
            )
        if training.precision == "float16":
            yield "[training] precision: 'scaffold' counts every step, and 'float16' leaves some out"
        yield from cut_down(job)

    def sends(self, layout: "Layout") -> Mapping[str, int]:
        """Return the control variate: a number for each that is trained."""
        return {CONTROL: layout.parameters}

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that corrects each step."""
        return Corrected(layout.parameters)

    def conclude(
        self, mean: Vectors, before: Vectors, kept: Vectors, share: float
    ) -> tuple[Vectors, Vectors]:
        """Return x and c of the next round (algorithm 1, lines 16 and 17).

        Statistics of batch norm are not parameters, and take their plain mean.
        """
        trained, rate = before[CONTROL].size, self.server_learning_rate
        model = mean[MODEL].copy()
        if rate != 1:
            start = before[MODEL][:trained]
            model[:trained] = start + rate * (model[:trained] - start)
        change = share * (mean[CONTROL] - before[CONTROL])
        return {MODEL: model, CONTROL: before[CONTROL] + change}, {}

    def joined(self, concluded: Vectors, before: Vectors, share: float) -> Vectors:
        """Let c stay the mean of all c_i: those of the sites that are new were 0."""
        control = concluded[CONTROL] - (1 - share) * before[CONTROL]
        return {**concluded, CONTROL: control.astype(before[CONTROL].dtype, copy=False)}


class Corrected(SiteHalf):
    """Adds c - c_i to the gradient of each step (algorithm 1, line 10).

    The site sends c + (c_i⁺ - c_i) beside its model: the mean of that, less c, is the mean change of the
    sites' control variates. A site that takes part for the first time begins with c_i = 0, as all do in
    round 1.

    Args:
        size: Numbers that are trained.
    """

    def __init__(self, size: int) -> None:
        self.keeps = {CONTROL: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train with the correction, and find the new control variate from the way (option II, line 12)."""
        model, centre = received[MODEL], received[CONTROL]
        own = kept[CONTROL] if kept else 0 * centre
        correction = train.place(centre - own)
        trained = train(model, pull=lambda _: correction)
        way = model[: own.size] - trained.model[: own.size]
        new: Vector = own - centre + way / trained.rates
        return {MODEL: trained.model, CONTROL: centre + (new - own)}, {CONTROL: new}
