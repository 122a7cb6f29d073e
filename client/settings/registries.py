"""What there is of all that a policy names."""

from typing import Any

from shared.further_metrics import METRICS
from shared.networks import NETWORKS
from shared.registry import Installed
from shared.strategies import STRATEGIES
from shared.tasks import TASKS

_OPTIONS: dict[str, Installed[Any]] = {
    "tasks": TASKS,
    "networks": NETWORKS,
    "strategies": STRATEGIES,
    "metrics": METRICS,
}


def registry_of(rule: str) -> Installed[Any]:
    """Return what is installed of what a rule of the policy names, such as 'networks'."""
    if rule != "kinds":
        return _OPTIONS[rule]
    from client.data.kinds import KINDS  # noqa: PLC0415 (loads PyTorch, which most commands do without)

    return KINDS
