"""The states of metrics, which add up over sites: behind masks nothing but a sum is ever seen."""

from collections.abc import Iterator, Mapping

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_sum

from shared.errors import WardroundError


def states_of(metrics: Mapping[str, Metric]) -> Iterator[tuple[str, str, Tensor]]:
    """Yield each metric's name, each state's name and the state, in the order in which they are packed."""
    for name, metric in metrics.items():
        for key, state in metric.metric_state.items():
            assert isinstance(state, Tensor)  # noqa: S101 (`require_sums` has seen to it)
            yield name, key, state


def require_sums(metrics: Mapping[str, Metric]) -> None:
    """Refuse metrics with a state that is not the sum of those of the sites.

    Args:
        metrics: As they are before anything is added.

    Raises:
        WardroundError: A state is a list, is merged otherwise than by adding, or does not begin at 0.
    """
    for name, metric in metrics.items():
        for key, first in metric._defaults.items():
            if reason := _why_no_sum(first, metric._reductions[key]):
                raise WardroundError(
                    f"the state '{key}' of the metric '{name}' ({type(metric).__name__}) {reason}, so those "
                    "of several sites can't be added up",
                    remedy="Compute the metric from sums that begin at 0: "
                    "add_state(..., torch.zeros(...), dist_reduce_fx='sum').",
                )


def _why_no_sum(first: Tensor | list[Tensor], merge: object) -> str:
    """Return what keeps a state from being a sum; nothing where it is one."""
    if not isinstance(first, Tensor):
        return "is a list"
    if merge is not dim_zero_sum:
        how = getattr(merge, "__name__", str(merge)).removeprefix("dim_zero_")
        return "has no rule by which it is merged" if merge is None else f"is merged by '{how}'"
    return "does not begin at 0" if bool((first != 0).any()) else ""
