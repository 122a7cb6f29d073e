"""FLAME: the majority whose updates point one way, cut down to the median length; momentum at the sites."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from shared.strategies.robust import RobustOptions
from shared.strategies.vectors import MODEL, SiteHalf, Train, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shared.strategies.flower_halves import CentralHalf
    from shared.wire.packed_model import Layout

MOMENTUM = "momentum"
"""Name of what a site keeps: its mean update, in which later rounds count more."""


class Flame(RobustOptions):
    """The majority whose updates point the same way, cut to the median length (Nguyen et al. 2022)."""

    at_site: ClassVar[str] = "sends, in place of its update, a mean of it and of those of its rounds before"

    name: Literal["flame"]
    momentum: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of its updates before in what a site sends: a single one is more by "
        "chance, and those who attack stand out less.",
    )

    def half(self) -> "type[CentralHalf]":
        """See the base class."""
        from shared.strategies.robust_halves import Flame

        return Flame

    def flower_options(self) -> dict[str, Any]:
        """Return none: momentum is the sites'."""
        return {}

    def site(self, layout: "Layout", personal: frozenset[str]) -> SiteHalf:
        """Return the half that sends its mean update."""
        return WithMomentum(layout.parameters, self.momentum)


class WithMomentum(SiteHalf):
    """Sends m ← (1 - β) u + β m in place of its update u (Karimireddy et al. 2021, equation 1); at first u.

    Args:
        size: Numbers that are trained; statistics of batch norm behind them are sent as they are.
        momentum: β.
    """

    def __init__(self, size: int, momentum: float) -> None:
        self._momentum = momentum
        self.keeps = {MOMENTUM: size}

    def round(self, train: Train, received: Vectors, kept: Vectors) -> tuple[Vectors, Vectors]:
        """Train, and send the model that the mean update leads to."""
        sent, size, share = received[MODEL], self.keeps[MOMENTUM], self._momentum
        model = train(sent).model.copy()
        update: NDArray[np.float32] = model[:size] - sent[:size]
        if kept:
            update = (1 - share) * update + share * kept[MOMENTUM]
        model[:size] = sent[:size] + update
        return {MODEL: model}, {MOMENTUM: update}
