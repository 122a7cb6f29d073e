"""Survival from the columns of a table and, where asked, an image."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.batch import Batch, Prediction
from shared.errors import RunError
from shared.metrics.states import MetricSet
from shared.metrics.statistics import quantiles
from shared.tasks.answers import Answer, Cell
from shared.tasks.base import Models, Phase
from shared.tasks.classes import LOGITS
from shared.tasks.explained import Explained
from shared.tasks.options import TRAIN
from shared.tasks.programs import Program
from shared.tasks.record_task import RecordTask
from shared.tasks.survival.losses import (
    cox_losses,
    deephit_losses,
    hazard_losses,
    mean_time,
    ranking_loss,
    survival_of,
    surviving,
)
from shared.tasks.survival.metrics import SurvivalMetrics
from shared.tasks.survival.options import TIMES, Survival

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

_SIGMA = 0.1  # of the ranking, as in the authors' code


class SurvivalTask(RecordTask):
    """The log hazard (B, 1) of Cox's model, or the logits of the hazards in each interval (B, K)."""

    def __init__(self, job: "JobSpec", options: Survival) -> None:
        super().__init__(job)
        self._options = options

    def phases(self) -> list[Phase]:
        """See the base class; Cox's loss is of a batch, and so is a ranking."""
        loss = self._cox_of_batch if self._options.loss == "cox" else self.losses
        return [self.phase(TRAIN, self._ranked if self._options.ranking else loss)]

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the columns of numbers, and the time of each event."""
        time, observed = batch["event"].unbind(dim=1)
        return super().measure(batch) | {TIMES: torch.where(observed > 0, time, torch.nan)[:, None]}

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Run the networks."""
        return {LOGITS: self.outputs(models, batch)}

    def edges(self) -> Tensor | None:
        """Return the end of each interval (K,), float64; None where the loss has none."""
        if self._options.loss == "cox":
            return None
        if self._options.intervals is not None:
            return torch.tensor(self._options.intervals, dtype=torch.float64)
        assert self._options.horizon is not None  # noqa: S101 (the job was checked)
        found = quantiles(self.known(TIMES), self._options.outputs, 0.0, self._options.horizon)
        return torch.from_numpy(found)

    def sample_losses(self, models: Models, batch: Batch, predicted: Prediction) -> Tensor:
        """See the base class; under Cox's loss the terms of the batch."""
        logits, (times, observed) = predicted[LOGITS], batch["event"].unbind(dim=1)
        edges = self.edges()
        if edges is None:
            return cox_losses(logits[:, 0], times, observed, self._options.ties)
        of_intervals = deephit_losses if self._options.loss == "deephit" else hazard_losses
        return of_intervals(logits, times, observed, edges.to(logits))

    def _ranked(self, models: Models, batch: Batch) -> Tensor:
        """Return the mean likelihood of a batch, and how well its patients are in order."""
        predicted = self.forward(models, batch)
        edges, (times, observed) = self.edges(), batch["event"].unbind(dim=1)
        assert edges is not None  # noqa: S101 (DeepHit has intervals)
        logits = predicted[LOGITS]
        order = ranking_loss(logits, times, observed, edges.to(logits), _SIGMA)
        return self.sample_losses(models, batch, predicted).mean() + self._options.ranking * order

    def _cox_of_batch(self, models: Models, batch: Batch) -> Tensor:
        """Return the mean over the events of a batch, or over its patients; 0 where it has no event."""
        losses = self.sample_losses(models, batch, self.forward(models, batch))
        if self._options.mean_over == "patients":
            return losses.mean()
        return losses.sum() / batch["event"][:, 1].sum().clamp(min=1)

    def metrics(self, edges: NDArray[np.float64] | None = None) -> MetricSet:
        """Return empty metrics; they bin no scores."""
        is_known = TIMES in self.statistics or self._options.horizon is None
        ends = self.edges() if is_known else self._any_edges()
        return SurvivalMetrics(self.job, self._options, ends)

    def _any_edges(self) -> Tensor:
        """Return ends of as many intervals: before the statistics are known only their number matters."""
        return torch.linspace(0, 1, self._options.outputs + 1, dtype=torch.float64)[1:]

    def explained(self, predicted: Prediction, of: str | None = None) -> list[Explained]:
        """See the base class: of jobs with an image the log hazard, or the hazard up to the last interval."""
        if of is not None:
            raise RunError(f"there is no class '{of}', as survival has none", where=self.job.job.name)
        if not self._options.image:
            return []
        return [Explained("image", "what speaks for an early event", self._hazard)] * len(predicted[LOGITS])

    def _hazard(self, models: Models, batch: Batch) -> Tensor:
        """Return (B,); of intervals the cumulative hazard: -log of the chance to survive them all."""
        logits = self.forward(models, batch)[LOGITS]
        if self._options.loss == "deephit":
            return -surviving(logits)[:, -1].clamp(min=1e-6).log()
        return logits[:, 0] if self.edges() is None else functional.softplus(logits).sum(dim=1)

    def program(self, models: Models) -> Program:
        """Return the networks with the scale of the columns, so that they take a table as it is written."""
        edges = self.edges()
        if edges is None:
            return self.program_of(models, LOGITS, "the log hazard: the higher, the sooner the event")
        says = "a logit of the hazard in each interval; survival is the product of 1 - sigmoid up to it"
        if self._options.loss == "deephit":
            says = "a logit of the event in each interval, beside 0 for none; chances are their softmax"
        return self.program_of(models, LOGITS, says, {"intervals": edges.tolist()})

    def answers(self, batch: Batch, predicted: Prediction) -> list[Answer]:
        """Return of each row its chance to survive each interval; under Cox's loss its log hazard alone.

        Cox's model orders patients: how many of them survive, its baseline hazard would say, which nobody
        has estimated.
        """
        logits, edges = predicted[LOGITS].detach().cpu().double(), self.edges()
        true = [self._known(batch, number) for number in range(len(batch))]
        if edges is None:
            return [
                Answer({"log_hazard": float(own), **known}) for own, known in zip(logits, true, strict=True)
            ]
        survival = survival_of(self._options.loss, logits)
        times = torch.cat([edges.new_zeros(1), edges])
        answers = []
        for own, mean, known in zip(survival, mean_time(survival, edges), true, strict=True):
            cells: dict[str, Cell] = {"risk": 1 - float(own[-1]), "mean_time": float(mean), **known}
            chances = zip(edges.tolist(), own.tolist(), strict=True)
            cells |= {f"survival/{edge:g}": chance for edge, chance in chances}
            answers.append(Answer(cells, curve=(times, torch.cat([own.new_ones(1), own]))))
        return answers

    @staticmethod
    def _known(batch: Batch, number: int) -> dict[str, Cell]:
        if "event" not in batch:
            return {}
        time, observed = batch["event"][number].tolist()
        return {"true_time": time, "true_event": int(observed)}
