"""The folder of a finished run, as a site has a copy of it: the job, and the model that came of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from shared.errors import RunError
from shared.job.schema import JobSpec
from shared.metrics.visibility import counts_are_told
from shared.networks.build import build_model
from shared.run_folder import HEADER, MODEL, RunRecord
from shared.wire.packed_model import Layout


@dataclass(frozen=True)
class FinishedRun:
    """A run with its last model.

    Attributes:
        job: What was asked.
        rounds: That were done.
        sites: Those that took part, with what they said of themselves.
        statistics: Of all sites, that the job asks for.
    """

    path: Path
    job: JobSpec
    rounds: int
    sites: dict[str, Any]
    statistics: dict[str, NDArray[np.float64]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what the run says of itself.

        Raises:
            RunError: It is not the folder of a run, or the run has no model yet.
        """
        run = RunRecord.read(path)
        try:
            description = run.read_description()
            sites, rounds = dict(description.get("sites", {})), int(description.get("rounds", 0))
            told = dict(description.get("statistics", {}))
            statistics = {name: np.array(numbers, np.float64) for name, numbers in told.items()}
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"is not the folder of a run ({error})", where=path) from None
        if not rounds or not (path / MODEL).is_file():
            raise RunError(
                f"has no model: {MODEL} is written when a run ends",
                where=path,
                remedy="Finish the run, or fetch it with its models (`wardround fetch`).",
            )
        return cls(path, run.job, rounds, sites, statistics)

    def check_site(self, name: str, patients: int) -> None:
        """Make sure that a site was in the run, with the data that it has now.

        Args:
            name: The site.
            patients: That it trains on now, rounded as the site tells it.

        Raises:
            RunError: It was not, or it had another number of patients.
        """
        if name not in self.sites:
            raise RunError(
                f"site '{name}' took no part; these did: {', '.join(sorted(self.sites))}", where=self.path
            )
        said = self.sites[name].get("patients", {}).get("train")
        told = self.job.privacy.mechanism == "none" or counts_are_told(self.sites[name].get("examples", {}))
        if said is not None and told and said != patients:
            raise RunError(
                f"site '{name}' trained on about {said} patients, but there are about {patients} now",
                where=self.path,
                remedy="Audit with the data that the run had: who was trained on must be known.",
            )

    def model(self, device: torch.device) -> nn.Module:
        """Return the run's last model.

        Raises:
            RunError: The file is damaged, or of another job.
        """
        file = self.path / MODEL
        model = build_model(self.job)
        if self.job.strategy.personal(model):
            raise RunError(
                f"is not whole: with '{self.job.strategy.name}' a part of it stays at each site", where=file
            )
        try:
            with safetensors.safe_open(file, "pt") as content:
                header = json.loads((content.metadata() or {}).get(HEADER, "{}"))
            tensors = safetensors.torch.load_file(file)
            missing = model.load_state_dict(tensors, strict=False)
        except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise RunError(f"can't be read as a model ({error})", where=file) from None
        unset = {entry.name for entry in Layout.of(model).entries} & set(missing.missing_keys)
        if header.get("job") != self.job.digest() or unset or missing.unexpected_keys:
            raise RunError("is the model of another job", where=file)
        return model.to(device)
