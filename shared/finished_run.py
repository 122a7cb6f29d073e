"""The folder of a finished run, as whoever has a copy of it reads it: the job, and the models of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

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
from shared.run_folder import ABOUT, BEST, HEADER, MODEL, RunRecord, of_round
from shared.strategies.vectors import SiteHalf
from shared.tasks.options import CLASS_COUNTS
from shared.wire.packed_model import Layout

Which = Literal["best", "last"]
"""The model of the round that was chosen on validation patients and tested, or that of the last round."""


@dataclass(frozen=True)
class FinishedRun:
    """A run with its models.

    Attributes:
        job: What was asked.
        rounds: That were done.
        sites: Those that took part, with what they said of themselves.
        statistics: Of all sites, that the job asks for.
        description: All that `run.json` says.
    """

    path: Path
    job: JobSpec
    rounds: int
    sites: dict[str, Any]
    statistics: dict[str, NDArray[np.float64]]
    description: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what the run says of itself.

        Raises:
            RunError: It is not the folder of a run, or the run has no model yet.
        """
        run = RunRecord.read(path)
        try:
            description = run.read_description()
            sites, rounds = dict(description.get("sites", {})), int(description.get("rounds", -1))
            told = dict(description.get("statistics", {}))
            statistics = {name: np.array(numbers, np.float64) for name, numbers in told.items()}
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"is not the folder of a run ({error})", where=path) from None
        if rounds < 0 or not (path / MODEL).is_file():
            raise RunError(
                f"has no model: {MODEL} is written when a run ends",
                where=path,
                remedy="Finish the run, or fetch it with its models (`wardround fetch`).",
            )
        needed = {spec.name for spec in run.job.task.statistics()} - {
            CLASS_COUNTS
        }  # which training alone needs
        if missing := sorted(needed - statistics.keys()):
            raise RunError(f"lacks what was summed over all sites: {', '.join(missing)}", where=path / ABOUT)
        return cls(path, run.job, rounds, sites, statistics, description)

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

    def file(self, which: Which | int = "last") -> Path:
        """Return the file of a model; that of the last round is the best where the job chooses none.

        Raises:
            RunError: That of a round was not kept.
        """
        if isinstance(which, int):
            file = self.path / of_round(which)
            if not file.is_file():
                raise RunError(
                    f"has no model of round {which}",
                    where=self.path,
                    remedy="[evaluation] keep_models of a job says of how many of its last rounds they stay.",
                )
            return file
        best = self.path / BEST
        return best if which == "best" and best.is_file() else self.path / MODEL

    def round_of(self, which: Which | int) -> int:
        """Return the round after which a model was saved.

        Raises:
            RunError: The file is damaged.
        """
        return int(_header(self.file(which)).get("round", self.rounds))

    @property
    def sites_judge_their_own(self) -> bool:
        """Whether the run's figures are of models of the sites' own, not of the one that it saved."""
        model = build_model(self.job, started=False)
        half = self.job.strategy.site(Layout.of(model), self.job.strategy.personal(model))
        return type(half).judged is not SiteHalf.judged

    def model(self, device: torch.device, which: Which | int = "last") -> nn.Module:
        """Return a model of the run.

        Raises:
            RunError: The file is damaged, of another job, or a part of the model never left the sites.
        """
        file = self.file(which)
        model = build_model(self.job, started=False, adapted=False)
        if self.job.strategy.personal(model):
            raise RunError(
                f"is not whole: with '{self.job.strategy.name}' a part of it stays at each site", where=file
            )
        header = _header(file)
        try:
            tensors = safetensors.torch.load_file(file)
            missing = model.load_state_dict(tensors, strict=False)
        except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise _unreadable(file, error) from None
        unset = {entry.name for entry in Layout.of(model).entries} & set(missing.missing_keys)
        if header.get("job") != self.job.digest() or unset or missing.unexpected_keys:
            raise RunError("is the model of another job", where=file)
        return model.to(device)


def _header(file: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(file, "pt") as content:
            found = json.loads((content.metadata() or {}).get(HEADER, "{}"))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise _unreadable(file, error) from None
    return dict(found) if isinstance(found, dict) else {}


def _unreadable(file: Path, error: Exception) -> RunError:
    return RunError(f"can't be read as a model ({error})", where=file)
