"""What an attack achieved: figures over patients, none about a single one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from shared.seeds import seed_of

LOW_RATE = 1e-3  # of false positives, as Carlini et al. 2022 report
_LEVELS = (0, 1, 2, 4, 8, 16, 32, 64)  # false positives at which the shown epsilon is looked for
_REPLICATES = 2000

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Leak:
    """How well an attack tells members from non-members; intervals are 95 %.

    Attributes:
        auc: Chance that a member's score is above a non-member's; 0.5 is guessing.
        auc_interval: Percentiles of the bootstrap over patients.
        tpr: Share of members found at `LOW_RATE` of false positives.
        tpr_interval: Clopper and Pearson's, over the members.
        fpr_above: Upper end of the interval of the false-positive rate at which `tpr` was measured.
        epsilon: What the attack proves: no training with a smaller epsilon leaks so much (Jagielski et al.,
            NeurIPS 2020); 0 where it proves nothing.
    """

    auc: float
    auc_interval: tuple[float, float]
    tpr: float
    tpr_interval: tuple[float, float]
    fpr_above: float
    epsilon: float


def leak(members: Values, others: Values, delta: float) -> Leak:
    """Judge an attack.

    Args:
        members: Its score of each patient who was trained on; high means "was".
        others: The same of patients who were not.
        delta: For `Leak.epsilon`.
    """
    auc, interval = _auc(members, others)
    threshold = np.sort(others)[::-1][int(LOW_RATE * len(others))]
    found = int((members > threshold).sum())
    wrong = int((others > threshold).sum())
    return Leak(
        auc,
        interval,
        found / len(members),
        _proportion(found, len(members), 0.95),
        _proportion(wrong, len(others), 0.95)[1],
        _epsilon(members, others, delta),
    )


def _auc(members: Values, others: Values) -> tuple[float, tuple[float, float]]:
    """Return the area under the ROC curve with its bootstrap interval, from all pairs of patients."""
    pairs = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    generator = np.random.default_rng(seed_of("bootstrap"))
    drawn_members = _redrawn(generator, len(members))
    drawn_others = _redrawn(generator, len(others))
    replicates = np.minimum(((drawn_members @ pairs) * drawn_others).sum(1), 1.0)  # rounding may pass 1
    low, high = np.quantile(replicates, (0.025, 0.975))
    return float(pairs.mean()), (float(low), float(high))


def _redrawn(generator: np.random.Generator, count: int) -> Values:
    """Return weights (replicates, count) of patients who are drawn with putting back."""
    return generator.multinomial(count, [1 / count] * count, _REPLICATES) / count


def _proportion(found: int, of: int, level: float) -> tuple[float, float]:
    interval = stats.binomtest(found, of).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def _epsilon(members: Values, others: Values, delta: float) -> float:
    """Return the largest epsilon that TPR <= exp(epsilon) FPR + delta refutes at some threshold.

    Both rates are taken at the ends of their intervals, which share the 5 % between rates and thresholds.
    """
    ordered = np.sort(others)[::-1]
    levels = [wrong for wrong in _LEVELS if wrong <= len(others) // 2]
    confidence = 1 - 0.05 / len(levels)  # two-sided intervals, one end of each is used
    largest = 0.0
    for wrong in levels:
        threshold = ordered[wrong]
        found = int((members > threshold).sum())
        low = _proportion(found, len(members), confidence)[0] - delta
        high = _proportion(int((others > threshold).sum()), len(others), confidence)[1]
        if low > high:
            largest = max(largest, float(np.log(low / high)))
    return largest
