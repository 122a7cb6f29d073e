"""CORAL: features whose mean and covariance at each site are led to those of all sites."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from shared.strategies.options import StrategyOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vector, Vectors

if TYPE_CHECKING:
    from torch import Tensor

    from shared.job.schema import JobSpec
    from shared.wire.packed_model import Layout

MOMENTS = "moments"
"""Name of what travels beside the model: means and second moments of the features."""

_RECENT = 0.1  # weight of a step's batch in what a site knows of its own moments


class Coral(StrategyOptions):
    """FedAvg with features that are spread at each site as at all together (CORAL; Sun et al. 2016)."""

    at_site: ClassVar[str] = (
        "sends, beside the model, means and second moments of what the network sees in the training images"
    )

    name: Literal["coral"]
    mu: float = Field(1.0, ge=0, description="Weight of the distance between moments.")
    features: int = Field(
        32,
        ge=2,
        le=128,
        description="Numbers that the features of an image are projected to, in directions that are drawn.",
    )

    @property
    def moments(self) -> int:
        """How many there are: means, and products of two features."""
        return self.features + self.features * (self.features + 1) // 2

    def problems(self, job: "JobSpec") -> Iterator[str]:
        """Yield what moments of features can't be had of, or can't be hidden in."""
        from shared.strategies.kept_whole import cut_down
        from shared.strategies.moon import without_features

        if job.privacy.mechanism == "dp-sgd":
            yield (
                "[strategy] name: 'coral' can't be used with 'dp-sgd': on the moments of features that a "
                "site sends there would be no noise"
            )
        yield from without_features(job)
        yield from cut_down(job, "moments travel beside the model")

    def sends(self, layout: "Layout") -> Mapping[str, int]:
        """Return the number of moments."""
        return {MOMENTS: self.moments}

    def bounds(self, job: "JobSpec", examples: int) -> Mapping[str, tuple[float, float]]:
        """Return those of projections of features of length 1, and of their products."""
        return {MOMENTS: (-1.0, 1.0)}

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that leads its features to those of all sites."""
        return Aligned(self)


class Aligned(SiteHalf):
    """Adds mu times the distance of its moments from those of all sites to the loss of each sample.

    In the first round nobody's moments are known, and a site trains as under FedAvg.

    Args:
        options: Weight and number of features.
    """

    def __init__(self, options: Coral) -> None:
        self._options = options
        self.keeps = {MOMENTS: options.moments}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train, and send the moments of the features of all batches."""
        alignment = MomentAlignment(received[MOMENTS], kept.get(MOMENTS), self._options)
        model = train(received[MODEL], alignment=alignment).model
        moments = alignment.moments()
        return {MODEL: model, MOMENTS: moments}, {MOMENTS: moments}


class MomentAlignment:
    """Leads moments of features to given ones; a `shared.strategies.vectors.Alignment`.

    ::

        D = ‖m - m*‖² / tr C* + ‖C - C*‖²_F / (tr C*)²

    The distance of the papers (Sun, Feng and Saenko, AAAI 2016; Sun and Saenko, Deep CORAL, ECCV workshops
    2016, equation 1) for the covariances C, with the means m beside them, and without a unit: * is that of
    all sites. A batch of few samples has moments by chance, which a penalty on it would shrink. So D
    is that of running moments u, and a sample is led along its share of them: the gradient is that of
    ∂D/∂u · v(sample), where v are the sample's features and their products.

    Args:
        goal: Moments of all sites; zeros where nobody knows them.
        own: Those of the site's last round, if it had one.
        options: Weight and number of features.
    """

    def __init__(self, goal: Vector, own: Vector | None, options: Coral) -> None:
        import torch

        self._goal = torch.from_numpy(goal.copy()).double()
        self._own = None if own is None else torch.from_numpy(own.copy()).double()
        self._options = options
        self._sum = torch.zeros(len(goal), dtype=torch.float64)
        self._count = 0

    def losses(self, features: "Tensor") -> "Tensor":
        """Return what is added to the loss of each sample, (B,), of features (B, N)."""
        import torch

        values = self._values(features)
        seen = values.detach().double().cpu()
        self._sum += seen.sum(dim=0)
        self._count += len(seen)
        mean = seen.mean(dim=0)
        self._own = mean if self._own is None else torch.lerp(self._own, mean, _RECENT)
        if not self._goal.any() or not self._options.mu:
            return values.new_zeros(len(values))
        own = self._own.clone().requires_grad_()
        with torch.enable_grad():
            distance = self._options.mu * self._distance(own)
        (slope,) = torch.autograd.grad(distance, own)
        return distance.detach().to(values) + (values - values.detach()) @ slope.to(values)

    def moments(self) -> Vector:
        """Return the mean over all samples that were seen, as it is sent."""
        found: Vector = (self._sum / max(self._count, 1)).clamp(-1, 1).float().numpy()
        return found

    def _values(self, features: "Tensor") -> "Tensor":
        import torch

        from shared.networks.features import projected

        number = self._options.features
        found = projected(features, number, 0).float()  # the same directions at all sites
        row, column = torch.triu_indices(number, number, device=found.device)
        return torch.cat([found, found[:, row] * found[:, column]], dim=1)

    def _distance(self, own: "Tensor") -> "Tensor":
        (mean, covariance), (goal, aim) = (self._parts(moments) for moments in (own, self._goal))
        spread = aim.trace().clamp(min=1e-12)
        apart: Tensor = (mean - goal).square().sum() / spread
        return apart + (covariance - aim).square().sum() / spread.square()

    def _parts(self, moments: "Tensor") -> "tuple[Tensor, Tensor]":
        """Return mean (K,) and covariance (K, K)."""
        import torch

        number = self._options.features
        mean, products = moments[:number], moments[number:]
        row, column = torch.triu_indices(number, number)
        second = torch.zeros(number, number, dtype=moments.dtype)
        second = second.index_put((row, column), products).index_put((column, row), products)
        return mean, second - mean[:, None] * mean
