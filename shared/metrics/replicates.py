"""The figures of a test if its patients had been others: each counts as often as a bootstrap draws them.

A rehearsal sees the patients behind the figures of all sites; a real run never does. What is needed of each
patient is in tables of tensors, one set for each site, whose column `patient` says whose a row is.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.metrics.histograms import Histograms
from shared.metrics.spec import metric_specs

if TYPE_CHECKING:
    from shared.metrics.states import MetricSet

Tables = Mapping[str, Tensor]
"""By name: `patient` says whose each row of a test is; `states` has a row for each patient, `packed` their
sum as it is packed; `train` has the targets of the site's training, where its manifest tells them. What else
there is, a metric set knows."""

Draws = NDArray[np.int64]
"""(R, P): how often each of the patients of all sites counts, those of the first site first."""

Figures = Mapping[str, NDArray[np.float64]]
"""By the name of the metric: its value in each draw (R,), NaN where undefined."""

PATIENT, STATES, PACKED, TRAIN = "patient", "states", "packed", "train"

_Parts = list[tuple[NDArray[np.str_], NDArray[np.float64]]]


@dataclass(frozen=True)
class Rivals:
    """What is reached without a look at what the model sees.

    Attributes:
        values: 'constant' (one answer for all) and 'site' (the hospital's name) -> metric -> its value.
        one_class: Sites whose test has a single class -> its name.
    """

    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    one_class: Mapping[str, str] = field(default_factory=dict)


def patients_in(tables: Tables) -> int:
    """Return how many patients a site's tables are of."""
    return int(tables[PATIENT].max()) + 1


def joined(sites: Sequence[Tables], name: str) -> NDArray[Any]:
    """Return a table of all sites, in their order; of `patient` the numbers go on."""
    parts = [tables[name].numpy() for tables in sites]
    if name == PATIENT:
        starts = np.cumsum([0, *(patients_in(tables) for tables in sites)])
        parts = [part + start for part, start in zip(parts, starts, strict=False)]
    return np.concatenate(parts)


def parts_of_means(metrics: "MetricSet", sites: Sequence[Tables]) -> dict[str, NDArray[np.float64]]:
    """Return what each patient adds to sum and count (P, 2) of the figures with a `MetricSpec.mean_of`.

    Figures that are a mean over several classes or targets are left out.
    """
    found = {}
    for spec in metric_specs(metrics.job):
        if spec.mean_of is None:
            continue
        places = [metrics.place(spec.mean_of, state) for state in ("total", "count")]
        parts = np.hstack([joined(sites, STATES)[:, place] for place in places])
        if parts.shape[1] == len(places):
            found[spec.name] = parts
    return found


def states_of_patients(metrics: "MetricSet", names: Collection[str]) -> Tensor:
    """Return what each patient adds to metrics (P, n), as they are packed; patients in the order of names.

    Args:
        metrics: With everything added that had to wait.
        names: Of the metrics. One of which it is not known what a patient adds has zeros.
    """
    counted = _counted(metrics, names)
    parts = [part for name in names for part in _states(metrics, name, counted)]
    patients = np.unique(np.concatenate([own for own, _ in parts]))
    packed = []
    for own, values in parts:
        every = np.zeros((len(patients), int(np.prod(values.shape[1:]))))
        every[np.searchsorted(patients, own)] = values.reshape(len(own), every.shape[1])
        packed.append(every)
    return torch.from_numpy(np.concatenate(packed, axis=1))


def _states(metrics: "MetricSet", name: str, counted: Mapping[str, _Parts]) -> _Parts:
    """Return the patients and their part of each state of a metric, in the order of the states."""
    metric = metrics.metrics[name]
    if metrics.has_values(name):
        values = metrics.values(name)
        of_state = {"total": values.sums, "count": values.counts.astype(np.float64)}
        return [(values.patients, of_state[state]) for state in metric.metric_state]
    if isinstance(metric, Histograms) and name in (scores := metrics.scores()):
        own = scores[name]
        patients, codes = np.unique(own.patients, return_inverse=True)
        parts = []
        for kind in (own.truth, ~own.truth):
            counts = np.zeros((len(patients), *metric.positives.shape))
            rows, classes = np.nonzero(kind)
            np.add.at(counts, (codes[rows], classes, own.bins[rows, classes]), 1)
            parts.append((patients, counts))
        return parts
    if name in counted:
        return counted[name]
    nobody = np.array([], np.str_)
    return [(nobody, np.zeros((0, torch.as_tensor(one).numel()))) for one in metric.metric_state.values()]


def _counted(metrics: "MetricSet", names: Collection[str]) -> dict[str, _Parts]:
    """Return the parts of the counts that `MetricSet.recount` counts, by counting each patient alone."""
    told = {name for cells in metrics.cells() for name in cells.metrics} & set(names)
    told = {name for name in told if not metrics.has_values(name)}
    if not told:
        return {}
    patients: set[str] = set()
    before = {name: _copied(metrics, name) for name in told}
    rows: dict[str, list[list[NDArray[np.float64]]]] = {name: [] for name in told}

    def count(
        alone: str | None, own: NDArray[np.str_], cells: NDArray[np.integer], number: int, _: int
    ) -> NDArray[np.int64]:
        patients.update(own.tolist())
        return np.bincount(cells if alone is None else cells[own == alone], minlength=number)

    metrics.recount(partial(count, None))
    for patient in sorted(patients):
        for name in told:
            _set(metrics, name, before[name])
        metrics.recount(partial(count, patient))
        for name in told:
            rows[name].append([state.double().numpy() for state in _copied(metrics, name).values()])
    for name in told:
        _set(metrics, name, before[name])
    names_of_all = np.array(sorted(patients))
    return {
        name: [(names_of_all, np.stack(parts)) for parts in zip(*found, strict=True)]
        for name, found in rows.items()
    }


def _copied(metrics: "MetricSet", name: str) -> dict[str, Tensor]:
    states = metrics.metrics[name].metric_state
    return {state: torch.as_tensor(values).clone() for state, values in states.items()}


def _set(metrics: "MetricSet", name: str, states: Mapping[str, Tensor]) -> None:
    for state, values in states.items():
        setattr(metrics.metrics[name], state, values.clone())


def figures_of(
    metrics: "MetricSet",
    names: Collection[str],
    states: NDArray[np.float64],
    report: Callable[[], Mapping[str, float]],
) -> Figures:
    """Return what is reported of metrics with other states.

    Args:
        metrics: Empty; they hold the last states afterwards.
        names: Of the metrics whose states they are.
        states: (R, n), as `states_of_patients` orders them.
        report: What is reported of the metrics.
    """
    found = []
    with warnings.catch_warnings():
        # States that are set and not updated are a mistake in torchmetrics' eyes.
        warnings.filterwarnings("ignore", message=".*before the ``update`` method", category=UserWarning)
        for row in torch.from_numpy(states):
            _load(metrics, names, row)
            found.append(report())
    return {name: np.array([values[name] for values in found]) for name in found[0]}


def _load(metrics: "MetricSet", names: Collection[str], row: Tensor) -> None:
    start = 0
    for name in names:
        metric = metrics.metrics[name]
        metric.reset()
        for state, default in metric.metric_state.items():
            empty = torch.as_tensor(default)
            values = row[start : start + empty.numel()]
            setattr(metric, state, values.reshape(empty.shape).to(empty.dtype))
            start += empty.numel()
