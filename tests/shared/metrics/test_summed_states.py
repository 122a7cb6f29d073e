"""States that do not add up are refused where a set of metrics is made, before any site has judged."""

import pytest
import torch
from torch import Tensor
from torchmetrics import MaxMetric, Metric
from torchmetrics.aggregation import CatMetric, MeanMetric, MinMetric, SumMetric

from shared.errors import WardroundError
from shared.metrics.states import Mean, MetricSet
from tests.jobs import make_job


class Own(MetricSet):
    """The metrics of a package's task."""

    def update(self, predicted, batch, losses):
        raise AssertionError

    def largest(self, name, state):
        return 1.0

    def report(self):
        return {}


class Unruly(Metric):
    """A metric with one state.

    Args:
        first: What it begins with.
        merge: How states are merged.
    """

    def __init__(self, first: Tensor, merge: str | None = "sum") -> None:
        super().__init__()
        self.add_state("level", first, dist_reduce_fx=merge)

    def update(self) -> None:
        raise AssertionError

    def compute(self) -> Tensor:
        return self.level


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (MaxMetric(), r"the state 'max_value' of the metric 'own' \(MaxMetric\) is merged by 'max'"),
        (MinMetric(), "'min_value' .* is merged by 'min'"),
        (CatMetric(), "'value' .* is a list"),
        (Unruly(torch.zeros(2), "mean"), "'level' .* is merged by 'mean'"),
        (Unruly(torch.zeros(2), None), "'level' .* has no rule by which it is merged"),
        (Unruly(torch.zeros(2), lambda several: several.prod(0)), "'level' .* is merged by '<lambda>'"),
        (Unruly(torch.ones(2)), "'level' .* does not begin at 0"),
        (Unruly(torch.tensor([0.0, float("nan")])), "'level' .* does not begin at 0"),
        (Unruly(torch.tensor(float("-inf"))), "'level' .* does not begin at 0"),
    ],
)
def test_a_state_that_is_no_sum_is_refused_with_its_name_and_what_to_do(metric, words):
    with pytest.raises(WardroundError, match=words) as caught:
        Own(make_job(), {"loss": Mean(), "own": metric})
    assert "dist_reduce_fx='sum'" in str(caught.value)


def test_sums_are_taken():
    Own(make_job(), {"loss": Mean(), "mean": MeanMetric(), "sum": SumMetric()})
