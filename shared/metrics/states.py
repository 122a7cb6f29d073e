"""Metrics whose states add up: sites send counts and sums, the federation computes from their total.

What the server computes from the sum of the sites' states is what pooling all predictions would give.
Every state is a torchmetrics state that is reduced by summing. What a site lets leave of its own is decided
in `client/guard/metric_release.py`.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from shared.batch import Batch, Prediction
from shared.errors import WardroundError
from shared.metrics.cells import Cells
from shared.metrics.curves import Curves
from shared.metrics.figures import Figure
from shared.metrics.histograms import CalibrationBins, Histograms, Scores
from shared.metrics.patient_values import PatientValues
from shared.metrics.replicates import (
    PACKED,
    PATIENT,
    STATES,
    Draws,
    Figures,
    Rivals,
    Tables,
    figures_of,
    joined,
    states_of_patients,
)
from shared.metrics.spec import metric_names
from shared.metrics.summed_states import require_sums, states_of

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

LARGEST_COUNT = 2**53  # above it, float64 can't hold every whole number
LARGEST_LOSS = 2.0**10  # of one image: what is above counts as this, so that any sum of images is bounded

Recount = Callable[[NDArray[np.str_], NDArray[np.integer], int, int], NDArray[np.int64]]
"""(patients (N,) of images, cell of each (N,), number of cells, how often each image is counted so) -> images
told to be in each cell (cells,)."""


class Mean(Metric):
    """Means of values that were added up, one for each of `columns`; NaN where nothing was counted."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, columns: int = 1) -> None:
        super().__init__(compute_with_cache=False)
        self.add_state("total", torch.zeros(columns, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(columns, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor, counted: Tensor | None = None) -> None:
        """Add values (N, columns), leaving out those where `counted` (the same shape) is False."""
        values = values.detach().cpu().double()
        counted = torch.ones_like(values, dtype=torch.bool) if counted is None else counted.detach().cpu()
        self.total += torch.where(counted, values, 0.0).sum(dim=0)
        self.count += counted.sum(dim=0)

    def compute(self) -> Tensor:
        """Return the means (columns,) in float64, a scalar for one column."""
        return self.total / self.count


class Totals(Metric):
    """Whole numbers added up over samples, such as voxels.

    Args:
        shape: Of the numbers that each sample has.
        are_bins: Whether they are bins, over which a sample may be spread in any way.
    """

    full_state_update = False
    total: Tensor

    def __init__(self, *shape: int, are_bins: bool = False) -> None:
        super().__init__(compute_with_cache=False)
        self.are_bins = are_bins
        self.add_state("total", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add whole numbers (N, *shape)."""
        self.total += values.detach().cpu().sum(dim=0)

    def compute(self) -> Tensor:
        """Return the sums (shape,)."""
        return self.total


class MetricSet(ABC):
    """The metrics of a task: torchmetrics objects by name, which all live on the CPU and add up.

    What a site lets leave of them follows from what they are made of: means and totals of each patient's
    values are bounded, histograms are merged (`scores` says whose they are), and counts of patients leave
    where `cells` has enough patients in each. A metric of which none of this is known does not leave.

    Attributes:
        no_interval: Figures for which a bootstrap over the patients says nothing, and why.
        signed: Means of the task whose values may be below 0; of others a sum below 0 is refused.

    Args:
        job: What is judged; the metrics that it asks for besides those of its task are added here.
        metrics: Metrics whose states are all summed; their order fixes the layout of the packed vector, so
            it must follow from the job alone.

    Raises:
        WardroundError: A state does not add up over sites.
    """

    no_interval: ClassVar[Mapping[str, str]] = {}
    signed: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, job: "JobSpec", metrics: Mapping[str, Metric]) -> None:
        self.job = job
        self._further = {metric.name: metric for metric in job.evaluation.metrics}
        means = {name: Mean(own.columns(job.task)) for name, own in self._further.items()}
        self.metrics = {**metrics, **means}
        require_sums(self.metrics)
        self._values: dict[str, list[tuple[Sequence[str], Tensor, Tensor]]] = {}
        self._partial: set[str] = set()

    @abstractmethod
    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch, what was predicted for it by name, and one loss per sample (B,)."""

    def add(self, name: str, patients: Sequence[str], values: Tensor, counted: Tensor | None = None) -> None:
        """Add values (N, columns) of images to the mean `name`; whose they are stays known here."""
        if counted is None:
            counted = torch.ones_like(values, dtype=torch.bool)
        else:
            self._partial.add(name)
        self.metrics[name].update(values, counted)
        self._values.setdefault(name, []).append((patients, values.detach().cpu(), counted.cpu()))

    def is_partial(self, name: str) -> bool:
        """Say if an image may have no value of the mean `name`, so that their number tells something."""
        return name in self._partial

    def add_up(self, name: str, patients: Sequence[str], values: Tensor) -> None:
        """Add whole numbers (N, *shape) of images to the totals `name`; whose they are stays known here."""
        self.metrics[name].update(values)
        flat = values.detach().cpu().flatten(start_dim=1)
        self._values.setdefault(name, []).append((patients, flat, torch.ones_like(flat, dtype=torch.bool)))

    def has_values(self, name: str) -> bool:
        """Say if `values` knows what each patient has added to the metric."""
        return name in self._values

    def values(self, name: str) -> PatientValues:
        """Return what each patient has added to the mean or the totals `name`; there must be some."""
        parts = self._values[name]
        patients = [patient for names, _, _ in parts for patient in names]
        values = torch.cat([values for _, values, _ in parts]).double().numpy()
        return PatientValues.of(patients, values, torch.cat([one for _, _, one in parts]).numpy())

    def add_further(self, predicted: Prediction, batch: Batch) -> None:
        """Add a batch to the metrics that the job asks for besides those of its task."""
        for name, own in self._further.items():
            values, counted = own.values(self.job, predicted, batch)
            if values.shape != (wanted := (len(batch), own.columns(self.job.task))):
                raise WardroundError(
                    f"gives values of shape {tuple(values.shape)} for a batch, not {wanted}",
                    where=f"[evaluation] metrics '{name}'",
                )
            self.add(name, batch.patients, bounded(values, own.largest), counted)

    def is_signed(self, name: str) -> bool:
        """Say whether values of a mean may be below 0."""
        return name in self.signed or (name in self._further and self._further[name].signed)

    def needs_exact(self, name: str) -> bool:
        """Say whether a mean tells nothing once it is bounded, so that a site that bounds leaves it out."""
        return name in self._further and self._further[name].exact

    def reach(self, name: str, patients: int) -> float | None:
        """Return the most by which one patient of so many can move the whole sum of a mean.

        None where a patient's values follow from their own images alone. Infinite where they depend on the
        others' too and nothing bounds by how much: a site that bounds its sums leaves such a mean out.
        """
        return None

    def limit(self, name: str, state: str) -> float:
        """Return the largest absolute value that one sample adds to each number of a metric's state."""
        if name in self._further:
            return self._further[name].largest if state == "total" else 1.0
        return self.largest(name, state)

    @abstractmethod
    def largest(self, name: str, state: str) -> float:
        """Return the same for the metrics of the task."""

    def limits(self, images: int) -> NDArray[np.float64]:
        """Return for each packed number (n,) the largest absolute value that the images can give."""
        limits = [
            np.full(values.numel(), images * self.limit(name, state), dtype=np.float64)
            for name, state, values in states_of(self.metrics)
        ]
        return np.minimum(np.concatenate(limits), LARGEST_COUNT)

    def counts(self) -> NDArray[np.bool_]:
        """Say which of the packed numbers (n,) are whole counts."""
        are_counts = [
            np.full(values.numel(), not values.is_floating_point()) for *_, values in states_of(self.metrics)
        ]
        return np.concatenate(are_counts)

    def fold(self, most: int) -> None:
        """Merge neighbouring bins of scores until at most `most` hold anything; the layout stays."""
        for metric in self.metrics.values():
            if isinstance(metric, Histograms | CalibrationBins):
                metric.fold(most)

    def cells(self) -> Iterator[Cells]:
        """Yield which numbers tell how many patients are in a cell; there must be some patients."""
        yield from ()

    def recount(self, count: Recount) -> None:
        """Replace what `cells` tells of, but for means and totals, by what a site may tell of it.

        Args:
            count: Returns the numbers of images in cells, changed a little.

        Raises:
            TypeError: The metrics don't say how.
        """
        raise TypeError(f"{type(self).__name__}: counts of patients leave as `recount` changes them")

    def scores(self) -> Mapping[str, Scores]:
        """Return whose scores are in the bins of each of the `Histograms`; there must be some."""
        return {}

    def curves(self) -> Curves | None:
        """Return the histograms from which the next evaluation's bins follow; None where a task has none."""
        return None

    def figures(self) -> Iterator[Figure]:
        """Yield what there is to see in the states: of sums alone, so of every run."""
        yield from ()

    def patient_figures(self, sites: Mapping[str, Tables]) -> Iterator[Figure]:
        """Yield what there is to see of single patients, as a rehearsal has them before it.

        Args:
            sites: What `patient_tables` returned at each; this set itself is empty.
        """
        yield from ()

    def tally(self) -> NDArray[np.int64] | None:
        """Return the images of each class and the others (K, 2), where the states tell; None otherwise."""
        return None

    def patient_tables(self) -> Tables:
        """Return what `resampled` and `rivals` need of each patient; everything that waited was added.

        It is for rehearsals, whose patients are before whoever runs them, and leaves no site.
        """
        states = states_of_patients(self, self.metrics)
        return {PATIENT: torch.arange(len(states)), STATES: states, PACKED: torch.from_numpy(self.pack())}

    def resampled(self, sites: Sequence[Tables], draws: Draws) -> Figures:
        """Return what the metrics would be if patients counted as often as each draw says.

        A figure is left out where the sums over the patients are not those of the test: then it is not known
        what each of them adds to it.

        Args:
            sites: What `patient_tables` returned at each; this set itself is empty.
            draws: (R, P), the first of them the test itself: each patient once.
        """
        whole = np.sum([tables[PACKED].numpy() for tables in sites], axis=0)
        states = np.vstack([whole, self.drawn_states(sites, draws)])
        figures = figures_of(self, self.metrics, states, self.compute)
        return {
            name: values[1:]
            for name, values in figures.items()
            if np.isclose(values[0], values[1], equal_nan=True)
        }

    def drawn_states(self, sites: Sequence[Tables], draws: Draws) -> NDArray[np.float64]:
        """Return the states of each draw (R, n), as `pack` orders them.

        Sums that compare patients with each other don't add up over them: say here what they are.
        """
        return np.asarray(draws @ joined(sites, STATES), np.float64)

    def spreads(self, sites: Sequence[Tables]) -> Mapping[str, float]:
        """Return the deviation of figures in parts of that of draws, where pairs vary too much."""
        return {}

    def influences(self, sites: Sequence[Tables]) -> Mapping[str, NDArray[np.float64]]:
        """Return by how much each patient moves a figure, to first order (P,), where that is known."""
        return {}

    def further_tables(self) -> Tables:
        """Return `patient_tables` of the metrics that the job asks for besides those of its task."""
        return {STATES: states_of_patients(self, self._further)} if self._further else {}

    def further_resampled(self, sites: Sequence[Tables], draws: Draws) -> Figures:
        """Return `resampled` of those metrics, from what `further_tables` returned."""
        if not self._further:
            return {}
        return figures_of(self, self._further, draws @ joined(sites, STATES), self.report_further)

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """Return what is reached without a look at what the model sees, from the tables of each site."""
        return Rivals()

    @abstractmethod
    def report(self) -> dict[str, float]:
        """Compute every metric of the task from the states; NaN where undefined."""

    def settled(self) -> Mapping[str, Metric]:
        """Return the metrics with everything added that had to wait, leaving this set as it is."""
        return self.metrics

    def settle(self) -> None:  # noqa: B027 (most tasks have nothing that waits)
        """Add everything that had to wait; no patient seen so far may have images still to come."""

    def compute(self) -> dict[str, float]:
        """Return every name of `metric_names(job)`; NaN where a metric is undefined."""
        with warnings.catch_warnings():
            # The server merges states and never updates, which torchmetrics takes for a mistake.
            warnings.filterwarnings("ignore", message=".*before the ``update`` method", category=UserWarning)
            values = {**self.report(), **self.report_further()}
        return {name: values[name] for name in metric_names(self.job)}

    def report_further(self) -> dict[str, float]:
        """Compute the metrics that the job asks for besides those of its task."""
        values: dict[str, float] = {}
        for name, own in self._further.items():
            single = self.metrics[name].compute().reshape(-1)
            values[name] = own.figure(self.job.task, single)
            labels = own.classes(self.job.task)
            values |= {f"{name}/{label}": float(single[i]) for i, label in enumerate(labels)}
        return values

    def pack(self) -> NDArray[np.float64]:
        """Return all states as one vector (n,), of the same length at every site of a job."""
        states = [state.ravel().double() for _, _, state in states_of(self.settled())]
        return torch.cat(states).numpy()

    def place(self, name: str, state: str) -> slice:
        """Return where a state of a metric is in the packed vector."""
        start = 0
        for metric, key, values in states_of(self.metrics):
            if (metric, key) == (name, state):
                return slice(start, start + values.numel())
            start += values.numel()
        raise KeyError((name, state))

    def merge(self, packed: NDArray[np.float64]) -> None:
        """Add the packed states of a site.

        Args:
            packed: What `pack` returned there. It comes from the network, so it is checked before any of it
                is added.

        Raises:
            ValueError: The length is wrong, a number is not finite, or a count is negative or not whole.
        """
        parts = self._checked(packed)
        for name, metric in self.metrics.items():
            metric.merge_state(parts[name])

    def _checked(self, packed: NDArray[np.float64]) -> dict[str, dict[str, Tensor]]:
        layout = list(states_of(self.metrics))
        length = sum(state.numel() for _, _, state in layout)
        vector = torch.from_numpy(np.array(packed, dtype=np.float64))
        if vector.shape != (length,):
            raise ValueError(f"metric states: expected ({length},) numbers, got {tuple(vector.shape)}")
        if not bool(torch.isfinite(vector).all()):
            raise ValueError("metric states: a number is not finite")
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in self.metrics}
        pieces = torch.split(vector, [state.numel() for _, _, state in layout])
        for (name, key, state), piece in zip(layout, pieces, strict=True):
            if not state.is_floating_point() and not _are_counts(piece):
                raise ValueError(f"metric states: '{name}' holds a count that is negative or not whole")
            parts[name][key] = piece.reshape(state.shape).to(state.dtype)
        return parts


def bounded(values: Tensor, largest: float) -> Tensor:
    """Return values of images within -largest to largest; those that are not finite stay, to be refused."""
    return torch.where(values.isfinite(), values.clamp(-largest, largest), values)


def _are_counts(piece: Tensor) -> bool:
    return bool(((piece >= 0) & (piece <= LARGEST_COUNT) & (piece == piece.round())).all())
