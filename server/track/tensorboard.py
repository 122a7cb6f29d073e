"""TensorBoard: a folder of event files for each run."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from server.track.sink import About, there_already
from shared.errors import RunError


class TensorBoard:
    """Writes into FOLDER/RUN; the job is its text, what came out are points behind the last round."""

    def __init__(self, folder: Path, about: About, *, goes_on: bool) -> None:
        place = folder / about.name
        if place.exists() and not goes_on:
            raise there_already(about, folder)
        try:
            self._writer = SummaryWriter(str(place))
        except OSError as error:
            raise RunError(f"can't be written ({error.strerror})", where=place) from None
        rows = "\n".join(f"| {key} | {value} |" for key, value in about.job.items())
        self._writer.add_text("job", f"| key | value |\n| --- | --- |\n{rows}")
        self._last = 0

    def log(self, numbers: Mapping[str, float], round_: int) -> None:
        """See `Sink`."""
        self._last = round_
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, round_)
        self._writer.flush()

    def finish(self, numbers: Mapping[str, float], status: str) -> None:
        """See `Sink`."""
        self.log(numbers, self._last)
        self._writer.close()
