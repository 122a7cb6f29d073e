"""MLflow: a run in the experiment `wardround`, in a folder's database or on a server."""

import os
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before it is imported; a user may say otherwise

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from server.track.sink import About, there_already
from shared.errors import RunError

_EXPERIMENT = "wardround"
_TAG = "wardround.run"
_ENDS = {"finished": "FINISHED", "failed": "FAILED"}  # all others were killed or stopped


class MLflow:
    """Keeps the keys of the job as parameters."""

    def __init__(self, place: str, about: About, *, goes_on: bool) -> None:
        try:
            self._client = MlflowClient(_uri(place))
            self._run = self._open(about, goes_on, place)
        except (MlflowException, OSError) as error:
            raise RunError(f"MLflow can't be used there ({error})", where=place) from None

    def _open(self, about: About, goes_on: bool, place: str) -> str:
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(_EXPERIMENT)
        found = self._client.search_runs([number], f"tags.`{_TAG}` = '{about.name}'", max_results=1)
        if found and not goes_on:
            raise there_already(about, place)
        if found:
            return str(found[0].info.run_id)
        run = str(self._client.create_run(number, run_name=about.name, tags={_TAG: about.name}).info.run_id)
        for key, value in about.job.items():
            self._client.log_param(run, key, value)
        return run

    def log(self, numbers: Mapping[str, float], round_: int) -> None:
        """See `Sink`."""
        for name, value in numbers.items():
            self._client.log_metric(self._run, name, value, step=round_)

    def finish(self, numbers: Mapping[str, float], status: str) -> None:
        """See `Sink`."""
        for name, value in numbers.items():
            self._client.log_metric(self._run, name, value)
        self._client.set_terminated(self._run, _ENDS.get(status, "KILLED"))


def _uri(place: str) -> str:
    """Return what MLflow calls the place: a folder's own database where it is not a URI already."""
    if "://" in place:
        return place
    folder = Path(place).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder}/mlflow.db"
