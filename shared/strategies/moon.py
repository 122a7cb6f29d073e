"""MOON: features that stay like those of the shared model, and unlike those of the site's last one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from torch import Tensor

    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

_SEEING = {"vector", "map", "fused"}  # what networks give whose features are of the sample

LAST = "last"
"""Name of the model that the site's last round ended with."""


class MOON(StrategyOptions):
    """FedAvg with a contrast between models at the sites (Li et al. 2021)."""

    at_site: ClassVar[str] = (
        "runs each batch through two more models, of which the site's last one stays at this site"
    )

    name: Literal["moon"]
    mu: float = Field(1.0, ge=0, description="Weight of the contrast.")
    temperature: float = Field(0.5, gt=0, description="By which likenesses are divided (tau).")

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what the features of a batch can't be compared with."""
        if job.privacy.mechanism == "dp-sgd":
            yield (
                "[strategy] name: 'moon' can't be used with 'dp-sgd', which bounds the gradient of the "
                "task's own loss for each patient; take 'fedprox', which also holds sites near the shared one"
            )
        yield from without_features(job)

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that compares its features."""
        return Contrasted(layout.size, self)


def without_features(job: "JobSpec") -> Iterator[str]:
    """Yield why a strategy that looks at features can't see any in a job."""
    from shared.job_parts import networks_of

    name, phases = job.strategy.name, len(job.task.phases(job.data))
    if phases > 1:
        yield f"[strategy] name: '{name}' needs a task of one phase, and '{job.task.name}' has {phases}"
    for network in networks_of(job):
        if network.options.gives not in _SEEING:
            yield (
                f"[{network.table}] name: '{name}' compares what a network sees in an image, and "
                f"'{network.options.name}' gives no class, number or map of one"
            )
    if job.training.compile:
        yield f"[training] compile: can't be used with '{name}', as a compiled network shows no features"
    if getattr(job.task, "unlabelled", None) is not None or getattr(job.task, "mixup", None) is not None:
        yield (
            f"[task] mixup, [task.unlabelled]: can't be used with '{name}', which compares the features of "
            "images as they are"
        )


class Contrasted(SiteHalf):
    """Adds mu times the contrast to the loss of each sample (algorithm 1, lines 14 to 19).

    A site that takes part for the first time has no last model. The shared one would stand in its place in
    the paper, by which both likenesses are equal and the contrast has no slope: it is left out.

    Args:
        size: Numbers of the network.
        options: Weight and temperature.
    """

    def __init__(self, size: int, options: MOON) -> None:
        self._options = options
        self.keeps = {LAST: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train, and keep the model that it ends with."""
        start, contrast = received[MODEL], None
        if kept and self._options.mu:
            contrast = ModelContrast(start, kept[LAST], self._options.mu, self._options.temperature)
        model = train(start, contrast=contrast).model
        return {MODEL: model}, {LAST: model}


class ModelContrast:
    """The contrast between models; a `shared.strategies.vectors.Contrast`.

    ::

        -log exp(sim(z, z_glob) / τ) / (exp(sim(z, z_glob) / τ) + exp(sim(z, z_prev) / τ))

    Equation 3 of the paper, where sim is the cosine of the angle between features.

    Args:
        towards: The shared model, which gives z_glob.
        away: The site's last model, which gives z_prev.
        mu: Weight.
        temperature: τ.
    """

    def __init__(self, towards: Vector, away: Vector, mu: float, temperature: float) -> None:
        self.towards = towards
        self.away = away
        self._mu = mu
        self._temperature = temperature

    def losses(self, features: "Tensor", towards: "Tensor", away: "Tensor") -> "Tensor":
        """Return the contrast of each sample times its weight, (B,), of features (B, N)."""
        from torch.nn import functional

        like, unlike = (functional.cosine_similarity(features, other) for other in (towards, away))
        return self._mu * functional.softplus((unlike - like) / self._temperature)
