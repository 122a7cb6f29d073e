"""What a site remembers of each run from message to message, on its disk.

Several runs may be at work at once, and a worker may be replaced between two messages of a round. What is
remembered is taken off the disk before a message is served and put back afterwards: a crash in between leaves
nothing, so that no stage of a secure aggregation is ever taken twice from one state.
"""

import base64
import binascii
import json
import re
import time
from pathlib import Path

from flwr.app import ConfigRecord, RecordDict

from shared.errors import SiteError
from shared.files import replace_file

MOST_RUNS = 32  # remembered; the one that was asked longest ago goes first
LONGEST_S = 24 * 3600.0  # after which a round that nobody went on with is over
_FILE = re.compile(r"-?\d{1,20}\.json")


class RunStates:
    """The states of the runs that a site takes part in.

    They hold secrets of a round, so nobody else may read the folder.

    Args:
        folder: Made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, run: int) -> RecordDict:
        """Return what is remembered of a run, and forget it; empty where nothing is.

        Raises:
            SiteError: The disk can't be used.
        """
        path = self._path(run)
        try:
            content = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return RecordDict()
        except OSError as error:
            raise _unusable(error) from None
        try:
            return _read(content)
        except (ValueError, TypeError, AttributeError, binascii.Error):
            return RecordDict()  # cut off by a crash: the site counts as dropped out of the round

    def keep(self, run: int, state: RecordDict) -> None:
        """Remember what a message of a run left; an empty state leaves nothing.

        Raises:
            SiteError: The disk can't be used.
        """
        if not state:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path(run), _written(state), sync=False)  # a power cut ends the round
            self._forget_old()
        except OSError as error:
            raise _unusable(error) from None

    def _forget_old(self) -> None:
        ages = {path: path.stat().st_mtime for path in self._folder.iterdir() if _FILE.fullmatch(path.name)}
        newest_first = sorted(ages, key=lambda path: ages[path], reverse=True)
        for place, path in enumerate(newest_first):
            if place >= MOST_RUNS or time.time() - ages[path] > LONGEST_S:
                path.unlink(missing_ok=True)

    def _path(self, run: int) -> Path:
        return self._folder / f"{run}.json"


def _written(state: RecordDict) -> bytes:
    records = {
        name: {key: base64.b64encode(value).decode("ascii") for key, value in record.items()}
        for name, record in state.items()
    }
    return json.dumps(records).encode()


def _read(content: bytes) -> RecordDict:
    records = json.loads(content)
    return RecordDict(
        {
            name: ConfigRecord({key: base64.b64decode(value, validate=True) for key, value in record.items()})
            for name, record in records.items()
        }
    )


def _unusable(error: OSError) -> SiteError:
    return SiteError(f"what is remembered of a run can't be used ({error.strerror})", where="state/runs")
