"""Metrics of survival: pairs of patients of one site, errors at the ends of the intervals, and the loss.

A pair is two patients of one hospital: nobody else sees both. So the sums of all sites give the index over
the pairs within sites, as a stratified analysis does.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from shared.batch import Batch, Prediction
from shared.metrics.figures import Figure, Point
from shared.metrics.replicates import TRAIN, Draws, Rivals, Tables, joined
from shared.metrics.states import LARGEST_LOSS, Mean, MetricSet, bounded
from shared.tasks.survival.figures import survival_by_risk
from shared.tasks.survival.losses import (
    brier_scores,
    cox_losses,
    mean_time,
    pairs,
    shares_by_chance,
    survival_of,
    survival_until,
)
from shared.tasks.survival.options import Survival
from shared.tasks.survival.resampled import (
    Numbers,
    chance_in_pairs,
    errors_of_curves,
    kaplan_meier,
    pairs_of_draws,
    spread_of_pairs,
)

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

RISK, TIME, OBSERVED, EVENTS = "risk", "time", "observed", "events"
"""Tables of each patient of a test (P,), and of each row (N, 2)."""

CALIBRATION_BINS = 10

LARGEST_PAIRS = 2.0**16  # pairs of a patient, and so patients who test at one site


class SurvivalMetrics(MetricSet):
    """Mergeable metrics of a survival job.

    Pairs, and Cox's loss, need all patients of the site: what the network says of each is kept here until the
    states are packed. Of a patient's rows the mean counts.

    Args:
        job: The job.
        options: Of its task.
        edges: Ends of the intervals (K,), float64; None where the loss has none.
    """

    def __init__(self, job: "JobSpec", options: Survival, edges: Tensor | None) -> None:
        self.options = options
        self._edges = edges
        self._rows: list[tuple[list[str], Tensor, Tensor]] = []  # patients, scores (B,), events (B, 2)
        self._is_settled = False
        of_curves: dict[str, Metric] = {}
        if edges is not None:
            of_curves = {"integrated_brier": Mean(len(edges)), "calibration": Mean(CALIBRATION_BINS)}
        super().__init__(job, {"loss": Mean(), "concordance": Mean(2), **of_curves})

    def update(self, predicted: Prediction, batch: Batch, losses: Tensor) -> None:
        """Add a batch: `logits` (B, 1) or (B, K), and the `event` (B, 2) of each row."""
        logits, event = predicted["logits"].detach().cpu().double(), batch["event"].detach().cpu().double()
        patients, edges = list(batch.patients), self._edges
        if edges is None:
            self._rows.append((patients, logits[:, 0], event))
            return
        survival = survival_of(self.options.loss, logits)
        self._rows.append((patients, -mean_time(survival, edges), event))
        self.add("loss", patients, bounded(losses[:, None], LARGEST_LOSS))
        time, observed = event.unbind(dim=1)
        self.add("integrated_brier", patients, *brier_scores(survival, time, observed, edges))
        within = torch.where(time < edges[-1], observed, 0.0)  # nothing is said of what comes later
        chances = survival_until(survival, time, edges)
        self.add("calibration", patients, shares_by_chance(chances, within, CALIBRATION_BINS))

    def largest(self, name: str, state: str) -> float:
        """See the base class."""
        if state != "total":
            return 1.0
        return {"loss": LARGEST_LOSS, "concordance": LARGEST_PAIRS}.get(name, 1.0)

    def reach(self, name: str, patients: int) -> float | None:
        """See the base class: of a pair's two patients each counts it, and Cox's loss compares all."""
        if name == "concordance":
            return 2.0 * (patients - 1)
        return math.inf if name == "loss" and self._edges is None else None

    def settled(self) -> Mapping[str, Metric]:
        """Return the metrics with the pairs of the patients seen so far."""
        if self._is_settled or not self._rows:
            return self.metrics
        metrics = {name: metric.clone() for name, metric in self.metrics.items()}
        for name, _, values, counted in self._of_all_patients():
            metrics[name].update(values, counted)
        return metrics

    def settle(self) -> None:
        """Count the pairs of all patients seen so far; none may have rows still to come."""
        if self._rows and not self._is_settled:
            for name, patients, values, counted in self._of_all_patients():
                self.add(name, patients, values, counted)
        self._is_settled = True

    def patient_tables(self) -> Tables:
        """See the base class; and what pairs and curves need of each patient, and of each row."""
        risks, times, observed = self._patients()[1:]
        events = torch.cat([events for *_, events in self._rows])
        return {**super().patient_tables(), RISK: risks, TIME: times, OBSERVED: observed, EVENTS: events}

    def drawn_states(self, sites: Sequence[Tables], draws: Draws) -> NDArray[np.float64]:
        """See the base class: pairs are of two patients who are drawn."""
        states, start = super().drawn_states(sites, draws), 0
        found = np.zeros((len(draws), 2))
        for risks, times, observed in map(_followed, sites):
            end = start + len(risks)
            found += pairs_of_draws(risks, times, observed, draws[:, start:end].astype(float))
            start = end
        states[:, self.place("concordance", "total")] = found
        return states

    def spreads(self, sites: Sequence[Tables]) -> Mapping[str, float]:
        """See the base class: draws have the chance of single pairs more than once."""
        of_sites = [_followed(tables) for tables in sites]
        pairs = [pairs_of_draws(*own, np.ones((1, len(own[0])))) for own in of_sites]
        right, among = np.concatenate(pairs).sum(axis=0)
        if among == 0:
            return {}
        chance = np.sum([chance_in_pairs(*own, right / among) for own in of_sites], axis=0)
        return {"concordance": spread_of_pairs(*chance)}

    def figures(self) -> Iterator[Figure]:
        """See the base class: the Brier score over time, and how well chances of surviving are calibrated."""
        if self._edges is None:
            return
        yield from self._calibration_figure()
        errors = self.metrics["integrated_brier"].compute().reshape(-1).tolist()
        points: list[Point] = [
            ("the model", edge, round(error, 5))
            for edge, error in zip(self._edges.tolist(), errors, strict=True)
            if not math.isnan(error)
        ]
        if points:
            yield Figure(
                "brier",
                "Brier score over time",
                ("of", "time", "Brier score"),
                points,
                says="The squared error of the predicted survival at the end of each interval; 0 is best.",
            )

    def _calibration_figure(self) -> Iterator[Figure]:
        shares = self.metrics["calibration"].compute().tolist()
        if math.isnan(shares[0]):
            return
        middles = [(place + 0.5) / CALIBRATION_BINS for place in range(CALIBRATION_BINS)]
        points: list[Point] = [
            ("the model", middle, round(share, 5)) for middle, share in zip(middles, shares, strict=True)
        ]
        points += [("calibrated", middle, 1 / CALIBRATION_BINS) for middle in (middles[0], middles[-1])]
        yield Figure(
            "calibration",
            "Calibration",
            ("of", "predicted chance of surviving until the own time", "share of the patients"),
            points,
            says="The share of the patients by the predicted chance of surviving until their own time; a "
            "calibrated model has a tenth in each bin.",
        )

    def patient_figures(self, sites: Mapping[str, Tables]) -> Iterator[Figure]:
        """See the base class: how patients of low and high risk survived."""
        own = list(sites.values())
        risks, times, observed = (joined(own, name) for name in (RISK, TIME, OBSERVED))
        yield survival_by_risk(risks, times, observed)

    def rivals(self, sites: Mapping[str, Tables]) -> Rivals:
        """See the base class: the share of the training patients of all sites, or of one, who survive.

        Pairs are of patients of one site: neither tells them apart.
        """
        found = {"constant": {"concordance": 0.5}, "site": {"concordance": 0.5}}
        if self._edges is not None and all(TRAIN in tables for tables in sites.values()):
            events, edges = [tables[EVENTS] for tables in sites.values()], self._edges.numpy()
            trained = [tables[TRAIN].double().numpy() for tables in sites.values()]
            everybody = kaplan_meier(np.concatenate(trained), edges)
            own = [kaplan_meier(train, edges) for train in trained]
            for rival, curves in (("constant", [everybody] * len(own)), ("site", own)):
                errors = errors_of_curves(curves, events, self._edges)
                found[rival]["integrated_brier"] = self._integrated(errors)
        return Rivals(found if len(sites) > 1 else {"constant": found["constant"]})

    def _patients(self) -> tuple[NDArray[np.str_], Tensor, Tensor, Tensor]:
        """Return the patients in the order of their names, with risk, time, and whether the event came."""
        names = np.concatenate([patients for patients, _, _ in self._rows])
        scores = torch.cat([scores for _, scores, _ in self._rows])
        events = torch.cat([events for _, _, events in self._rows])
        patients, first, codes = np.unique(names, return_index=True, return_inverse=True)
        where, rows = torch.from_numpy(codes), torch.bincount(torch.from_numpy(codes))
        risks = torch.zeros(len(patients), dtype=torch.float64).index_add_(0, where, scores) / rows
        times, observed = events[torch.from_numpy(first)].unbind(dim=1)
        return patients, risks, times, observed

    def _of_all_patients(self) -> list[tuple[str, list[str], Tensor, Tensor]]:
        """Return what only all patients together give: name, patients, values, which of them count."""
        patients, risks, times, observed = self._patients()
        found = pairs(risks, times, observed).clamp(max=LARGEST_PAIRS)
        every = torch.ones_like(found, dtype=torch.bool)
        parts = [("concordance", patients.tolist(), found, every)]
        if self._edges is None:
            losses = cox_losses(risks, times, observed, self.options.ties)[:, None]
            parts.append(("loss", patients.tolist(), bounded(losses, LARGEST_LOSS), observed[:, None] > 0))
        return parts

    def report(self) -> dict[str, float]:
        """Compute every metric of the job; the error is the mean over time up to the last edge."""
        metrics = self.settled()
        right, among = metrics["concordance"].metric_state["total"].tolist()  # type: ignore[union-attr]
        of_pairs = min(right / among, 1.0) if among > 0 else math.nan  # noise may leave too many right
        values = {"concordance": of_pairs}
        values["loss"] = float(metrics["loss"].compute())
        if self._edges is not None:
            values["integrated_brier"] = self._integrated(metrics["integrated_brier"].compute().reshape(-1))
            off = metrics["calibration"].compute() - 1 / CALIBRATION_BINS
            values["calibration_error"] = float(off.abs().sum()) / 2
        return values

    def _integrated(self, errors: Tensor) -> float:
        """Return the mean over time, up to the last edge, of the errors at the edges (K,)."""
        assert self._edges is not None  # noqa: S101 (there are errors at them)
        widths = torch.diff(self._edges, prepend=self._edges.new_zeros(1))
        widths = torch.where(errors.isnan(), 0.0, widths)
        return float((errors.nan_to_num() * widths).sum() / widths.sum())


def _followed(tables: Tables) -> tuple[Numbers, Numbers, Numbers]:
    """Return risks, times and whether the event came of a site's patients (P,)."""
    return tables[RISK].numpy(), tables[TIME].numpy(), tables[OBSERVED].numpy()
