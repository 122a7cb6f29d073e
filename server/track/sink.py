"""A tracker as a run sees it: something that takes numbers by name and round."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.errors import RunError
from shared.text.names import suggestion

KINDS = ("tensorboard", "mlflow", "wandb")
_PASSWORD = re.compile(r"://[^/@]*:[^/]*@")
EXTRA = "Install it: pip install 'wardround[{kind}]'."


@dataclass(frozen=True)
class About:
    """What a tracker shows of a run from its beginning.

    Attributes:
        name: Of the run.
        job: Every key of the job that is set, dotted: `training.learning_rate`.
    """

    name: str
    job: Mapping[str, str | float | bool]


class Sink(Protocol):
    """One tracker, opened for one run."""

    def log(self, numbers: Mapping[str, float], round_: int) -> None:
        """Take numbers of a round, by names such as `validation/dice_global`."""

    def finish(self, numbers: Mapping[str, float], status: str) -> None:
        """Take what came out, and that the run has ended; nothing is logged after it."""


@dataclass(frozen=True)
class Target:
    """Where a run is tracked.

    Attributes:
        kind: One of `KINDS`.
        place: A folder; for MLflow also the URI of a server or a database.
    """

    kind: str
    place: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read `KIND:PLACE`.

        Raises:
            RunError: It is not of this form, of another tracker, or holds a password.
        """
        kind, _, place = text.partition(":")
        if _PASSWORD.search(place):  # it would stand in lists of processes, logs and messages
            raise RunError(
                "holds a password, which others would read",
                where=_PASSWORD.sub("://…@", text),
                remedy="MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
            )
        if kind not in KINDS:
            raise RunError(f"unknown tracker '{kind}'; {suggestion(kind, KINDS)}", where=text)
        if not place:
            raise RunError("names no place", where=text, remedy=f"Write {kind}:FOLDER.")
        return cls(kind, place)

    @property
    def folder(self) -> Path:
        """The place as a folder of this machine."""
        return Path(self.place).expanduser()

    def open(self, about: About, *, goes_on: bool = False) -> Sink:
        """Open the tracker for a run.

        Args:
            about: The run.
            goes_on: It was tracked there before, and goes on; otherwise it must be new there.

        Raises:
            RunError: The tracker is not installed, can't be written to, or has the run already.
        """
        try:
            return self._open(about, goes_on)
        except ImportError:
            raise RunError(
                f"{self.kind} is not installed", where=self, remedy=EXTRA.format(kind=self.kind)
            ) from None

    def _open(self, about: About, goes_on: bool) -> Sink:
        if self.kind == "tensorboard":
            from server.track.tensorboard import TensorBoard  # noqa: PLC0415  (an extra, as the others)

            return TensorBoard(self.folder, about, goes_on=goes_on)
        if self.kind == "mlflow":
            from server.track.mlflow import MLflow  # noqa: PLC0415

            return MLflow(self.place, about, goes_on=goes_on)
        from server.track.wandb import WeightsAndBiases  # noqa: PLC0415

        return WeightsAndBiases(self.folder, about, goes_on=goes_on)

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"


def there_already(about: About, place: object) -> RunError:
    """Return the error for a run that the tracker has."""
    return RunError(f"has the run '{about.name}' already", where=place, remedy="Remove it there first.")
