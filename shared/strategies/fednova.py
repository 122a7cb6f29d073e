"""FedNova: sites that take more steps count no more for that."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.limits import MOST_ROUNDING
from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

STEPS = "steps"
"""Name of what travels beside the model: how many steps a site has taken."""

MOMENTUM = "momentum"
"""Name of what the coordinator keeps: the changes of the rounds before, ever less of them."""


class FedNova(StrategyOptions):
    """Mean of the sites' changes per step, however many steps each took; SGD (Wang et al. 2020)."""

    at_site: ClassVar[str] = "sends its change divided by the number of its steps, and that number"

    name: Literal["fednova"]
    server_momentum: float = Field(0.0, ge=0, lt=1, description="Share of the last round's change added.")

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what would make a change per step something else than a mean gradient."""
        from shared.job_parts import phases_of
        from shared.strategies.kept_whole import cut_down

        if any(own.optimizer != "sgd" or own.momentum for own in phases_of(job).values()):
            yield (
                "[training] optimizer: must be 'sgd' with momentum = 0.0 under 'fednova', whose changes are "
                "divided by the number of steps"
            )
        if job.training.precision == "float16":
            yield "[training] precision: 'fednova' counts every step, and 'float16' leaves some out"
        if job.privacy.mechanism == "dp-sgd" and job.training.local_steps is None:
            yield (
                "[training] local_steps: must be set under 'fednova' with 'dp-sgd': the steps of an epoch "
                "would tell how many patients there are"
            )
        yield from cut_down(job, "the coordinator multiplies what each site sends")

    def sends(self, layout: "Layout") -> Mapping[str, int]:
        """Return the number of steps."""
        return {STEPS: 1}

    def bounds(self, job: "JobSpec", examples: int) -> Mapping[str, tuple[float, float]]:
        """Return between how many steps a site can take: those of the job, rounded to whole passes."""
        training = job.training
        whole = -(-(examples + MOST_ROUNDING) // training.batch_size)
        most = whole * (training.local_epochs or 1) + (training.local_steps or 0)
        return {STEPS: (1.0, most)}

    def remembers(self, layout: "Layout") -> Mapping[str, int]:
        """Return the momentum: a number for each that is trained."""
        return {MOMENTUM: layout.parameters}

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that divides by its steps."""
        return PerStep(layout.parameters)

    def conclude(
        self, mean: Vectors, before: Vectors, kept: Vectors, share: float
    ) -> tuple[Vectors, Vectors]:
        """Return the next model (equation 11, where the mean is weighted by p_i; section 5 has the momentum).

        ::

            m ← β m + τ · Σ p_i (x_i - x) / τ_i        x ← x + m        τ = Σ p_i τ_i

        Statistics of batch norm are not parameters, and take their plain mean.
        """
        trained, model = kept[MOMENTUM].size, mean[MODEL].copy()
        start = before[MODEL][:trained]
        change = mean[STEPS] * (model[:trained] - start) + self.server_momentum * kept[MOMENTUM]
        model[:trained] = start + change
        return {MODEL: model, STEPS: mean[STEPS]}, {MOMENTUM: change}


class PerStep(SiteHalf):
    """Sends the model that one mean step of the round would have led to, and how many steps there were.

    Without momentum each gradient counts once: ‖a_i‖₁ of equation 4 is the number of steps.

    Args:
        size: Numbers that are trained.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train, and divide the way that the model went."""
        trained = train(received[MODEL])
        model, start = trained.model.copy(), received[MODEL][: self._size]
        model[: self._size] = start + (model[: self._size] - start) / trained.steps
        return {MODEL: model, STEPS: 0 * received[STEPS] + trained.steps}, {}
