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
from shared.metrics.statistics import means_and_deviations, quantiles
from shared.tasks.answers import Answer, Cell
from shared.tasks.base import Models, Phase, Task
from shared.tasks.explained import Explained
from shared.tasks.options import TRAIN
from shared.tasks.programs import Input, OfTable, Program
from shared.tasks.survival.losses import cox_losses, hazard_losses, mean_time, survival_at
from shared.tasks.survival.metrics import SurvivalMetrics
from shared.tasks.survival.options import COLUMNS, TIMES, Survival

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

LOGITS = "logits"


class SurvivalTask(Task):
    """The log hazard (B, 1) of Cox's model, or the logits of the hazards in each interval (B, K)."""

    def __init__(self, job: "JobSpec", options: Survival) -> None:
        super().__init__(job)
        self._options = options
        is_number = [
            name not in options.categories
            for name in options.columns
            for _ in options.categories.get(name, [name])
        ]
        self._is_number = torch.tensor(is_number)

    def phases(self) -> list[Phase]:
        """See the base class; Cox's loss is of a batch."""
        return [self.phase(TRAIN, self.losses if self._options.loss == "hazard" else self._cox_of_batch)]

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the columns of numbers, and the time of each event."""
        time, observed = batch["event"].unbind(dim=1)
        return {
            COLUMNS: batch["record"][:, self._is_number],
            TIMES: torch.where(observed > 0, time, torch.nan)[:, None],
        }

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Return a batch whose record is what the network sees of it."""
        return batch.plus(record=self.scaled(batch["record"]))

    def forward(self, models: Models, batch: Batch) -> Prediction:
        """Run the networks; of two, the outputs are added."""
        if "image" not in models:
            return {LOGITS: models["model"](batch["record"])}
        return {LOGITS: models["image"](batch["image"]) + models["record"](batch["record"])}

    def scaled(self, record: Tensor) -> Tensor:
        """Return what the network sees of a table (B, K): columns of mean 0, deviation 1 in the federation.

        What is missing is the mean, so 0; of a category, each of its values is 0.
        """
        numbers, record = self._is_number, record.clone()
        if self._options.numbers:
            means, deviations = (torch.from_numpy(part) for part in self._scale())
            record[:, numbers] = ((record[:, numbers].double() - means) / deviations).float()
        missing = record.isnan()
        seen = record.masked_fill(missing, 0.0)
        return torch.cat([seen, missing[:, numbers].to(seen)], dim=1) if self._options.indicators else seen

    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scaling = self._options.scaling
        if scaling is None:
            return means_and_deviations(self.known(COLUMNS))
        means, deviations = np.array([scaling[name] for name in self._options.numbers]).T
        return means, deviations

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
        return hazard_losses(logits, times, observed, edges.to(logits))

    def _cox_of_batch(self, models: Models, batch: Batch) -> Tensor:
        """Return the mean over the events of a batch; 0 where it has none."""
        losses = self.sample_losses(models, batch, self.forward(models, batch))
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
        if "image" not in self.roles:
            return []
        return [Explained("image", "what speaks for an early event", self._hazard)] * len(predicted[LOGITS])

    def _hazard(self, models: Models, batch: Batch) -> Tensor:
        """Return (B,); of intervals the sum of -log(1 - hazard), which is the cumulative hazard."""
        logits = self.forward(models, batch)[LOGITS]
        return logits[:, 0] if self.edges() is None else functional.softplus(logits).sum(dim=1)

    def program(self, models: Models) -> Program:
        """Return the networks with the scale of the columns, so that they take a table as it is written."""
        options, edges = self._options, self.edges()
        scale = torch.stack([torch.zeros(len(self._is_number)), torch.ones(len(self._is_number))]).double()
        if options.numbers:
            for place, numbers in enumerate(self._scale()):
                scale[place, self._is_number] = torch.from_numpy(numbers)
        image = models.get("image")
        module = OfTable(
            models["model" if image is None else "record"],
            image,
            scale,
            self._is_number,
            indicators=options.indicators,
        )
        columns = [
            f"{name}={value}" if name in options.categories else name
            for name in options.columns
            for value in options.categories.get(name, [name])
        ]
        says = (
            "columns as the manifest has them, NaN where one is missing; of a category 0 or 1 for each value"
        )
        record = {"record": Input((len(columns),), says)}
        facts: dict[str, object] = {"columns": columns}
        if edges is None:
            return Program(
                module,
                record | self._image(),
                LOGITS,
                "the log hazard: the higher, the sooner the event",
                facts,
            )
        says = "a logit of the hazard in each interval; survival is the product of 1 - sigmoid up to it"
        return Program(module, record | self._image(), LOGITS, says, facts | {"intervals": edges.tolist()})

    def _image(self) -> dict[str, Input]:
        return {"image": self.image_input()} if self._options.image else {}

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
        survival = survival_at(logits)
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
