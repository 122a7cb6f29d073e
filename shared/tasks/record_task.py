"""What the tasks share whose networks see an image, the columns of a table (a record), or both."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.batch import Batch
from shared.metrics.statistics import means_and_deviations
from shared.tasks.base import Models, Task
from shared.tasks.programs import Input, OfTable, Program, clipped, known, lacking
from shared.tasks.records import COLUMNS, RecordOptions

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

RECORD, IMAGE, FUSION = "record", "image", "fusion"
"""Fields of a batch, and roles of networks where there are both."""

LACKING = "lacking"
"""What is added to a batch of both: 1 where a row has no image, and where it has no record (B, 2)."""

Scale = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and standard deviation of each of some columns (K,)."""


class RecordTask(Task):
    """A task whose options are `RecordOptions`; its networks are those of `RecordOptions.input_networks`."""

    def __init__(self, job: "JobSpec") -> None:
        super().__init__(job)
        if not isinstance(job.task, RecordOptions):
            raise TypeError(f"'{job.task.name}' does not say which columns its network sees")
        self._seen = job.task
        is_number = [
            name not in job.task.categories
            for name in job.task.columns
            for _ in job.task.categories.get(name, [name])
        ]
        self._is_number = torch.tensor(is_number, dtype=torch.bool)

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the columns of numbers."""
        return {COLUMNS: batch[RECORD][:, self._is_number]} if self._seen.numbers else {}

    def prepare(self, batch: Batch, seed: int) -> Batch:
        """Return a batch with what the networks see of its records and, beside images, what is `LACKING`."""
        if not self._seen.columns:
            return batch
        record = self.scaled(batch[RECORD])
        if not self._seen.image:
            return batch.plus(record=record)
        image = batch[IMAGE]
        return batch.plus(image=known(image), record=record, lacking=lacking(image, batch[RECORD]))

    def outputs(self, models: Models, batch: Batch) -> Tensor:
        """Return what the networks give (B, K)."""
        if self._seen.is_fused:
            features = models[IMAGE](batch[IMAGE]), models[RECORD](batch[RECORD])
            found: Tensor = models[FUSION](*features, batch[LACKING])
        else:
            found = models["model"](batch[IMAGE if self._seen.image else RECORD])
        return found

    def scaled(self, record: Tensor) -> Tensor:
        """Return what a network sees of a record (B, K): columns of mean 0, deviation 1 in the federation.

        What is missing is the mean, so 0; of a category, each of its values is 0.
        """
        numbers, record = self._is_number, record.clone()
        if self._seen.numbers:
            means, deviations = (torch.from_numpy(part) for part in self.scale(COLUMNS, self._seen.numbers))
            scaled = (record[:, numbers].double() - means) / deviations
            record[:, numbers] = clipped(scaled, self._seen.clip).float()
        missing = record.isnan()
        seen = record.masked_fill(missing, 0.0)
        return torch.cat([seen, missing[:, numbers].to(seen)], dim=1) if self._seen.indicators else seen

    def scale(self, statistic: str, columns: list[str]) -> Scale:
        """Return mean and standard deviation of columns: what the job states, or those of all sites.

        Args:
            statistic: Name of their moments.
            columns: As the job names them.
        """
        stated = self._seen.scaling
        if stated is None:
            return means_and_deviations(self.known(statistic))
        means, deviations = np.array([stated[name] for name in columns]).T
        return means, deviations

    def program_of(
        self, models: Models, output: str, says: str, facts: Mapping[str, object] | None = None
    ) -> Program:
        """Return the networks with the scale of the columns, so that they take a record as it is written.

        Args:
            models: The networks.
            output: Name of what comes out.
            says: What that is, in words.
            facts: What whoever reads it must know; the columns are added.
        """
        facts, image = dict(facts or {}), {IMAGE: self.image_input()} if self._seen.image else {}
        if not self._seen.columns:
            return Program(models["model"], image, output, says, facts)
        columns = self._seen.column_names
        scale = torch.stack([torch.zeros(len(columns)), torch.ones(len(columns))]).double()
        if self._seen.numbers:
            for place, numbers in enumerate(self.scale(COLUMNS, self._seen.numbers)):
                scale[place, self._is_number] = torch.from_numpy(numbers)
        module = OfTable(
            models[RECORD if image else "model"],
            (models[IMAGE], models[FUSION]) if image else None,
            scale,
            self._is_number,
            indicators=self._seen.indicators,
            clip=self._seen.clip,
        )
        how = (
            "columns as the manifest has them, NaN where one is missing; of a category 0 or 1 for each value"
        )
        record = {RECORD: Input((len(columns),), how)}
        return Program(module, record | image, output, says, {"columns": columns} | facts)
