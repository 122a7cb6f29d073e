"""Weights & Biases, offline: files in a folder, which only `wandb sync` sends anywhere."""

import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before it is imported; a user may say otherwise

import wandb

from server.track.sink import About, there_already
from shared.errors import RunError

_PROJECT = "wardround"


class WeightsAndBiases:
    """Takes numbers alone: nothing of the machine, its packages, its console or the code."""

    def __init__(self, folder: Path, about: About, *, goes_on: bool) -> None:
        if not goes_on and any((folder / "wandb").glob(f"offline-run-*-{about.name}")):
            raise there_already(about, folder)
        quiet = wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            silent=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                mode="offline",
                dir=str(folder),
                project=_PROJECT,
                id=about.name,
                name=about.name,
                config=dict(about.job),
                settings=quiet,
            )
        except (OSError, wandb.Error) as error:
            raise RunError(f"Weights & Biases can't write there ({error})", where=folder) from None

    def log(self, numbers: Mapping[str, float], round_: int) -> None:
        """See `Sink`."""
        self._run.log(dict(numbers), step=round_)

    def finish(self, numbers: Mapping[str, float], status: str) -> None:
        """See `Sink`."""
        self._run.summary.update({**numbers, "status": status})
        self._run.finish(exit_code=int(status != "finished"))
