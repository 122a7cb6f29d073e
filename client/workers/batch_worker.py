"""A worker that runs as a job of a cluster: it answers the calls that it finds as files in a folder."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from client.workers.calls import Host, Outcome, answer, portable
from client.workers.message_files import read_call, write_outcome

log = logging.getLogger(__name__)

CALL, TAKEN, ANSWER, PULSE = "call", "taken", "answer", "pulse"
"""Names of the files of a job's folder; all but the last have the number of the call behind."""
PULSE_EVERY = 5.0  # seconds between two signs of life of the service
LOST = 90.0  # seconds without one until a job ends by itself: a shared disk may show files late
BUILT = 0  # number of the answer that says whether there is a host
_LOOKS = (0.05, 1.0)  # seconds between looks for a call: first, and at most
_EAGER = 1 / 20  # looks again after this part of the time since the last call


def serve_files(folder: Path, pulse: "Pulse", build: Callable[[], Host], idle: float) -> None:
    """Build the host and answer calls until none comes for a while, or the service is gone.

    Args:
        folder: Of this job, which the service has made.
        pulse: The service's sign of life.
        build: Makes the host.
        idle: Seconds to wait for the next call; then the job ends, and the machine is others'.
    """
    with suppress(FileNotFoundError):  # the service has ended this job, and removed its folder
        try:
            host = build()
        except Exception as error:
            log.exception("the worker can't be made")
            write_outcome(file_of(folder, ANSWER, BUILT), Outcome(BUILT, error=portable(error)))
            return
        write_outcome(file_of(folder, ANSWER, BUILT), Outcome(BUILT, {}))
        _answer_all(folder, pulse, host, idle)


def _answer_all(folder: Path, pulse: "Pulse", host: Host, idle: float) -> None:
    number, last_work = BUILT + 1, time.monotonic()
    while pulse.is_beating and (waited := time.monotonic() - last_work) < idle:
        if _answer(folder, host, number):
            number, last_work = number + 1, time.monotonic()
        else:
            first, longest = _LOOKS
            time.sleep(min(max(first, waited * _EAGER), longest))


def file_of(folder: Path, what: str, number: int) -> Path:
    """Return a file of a call, counted from 1 in a job; answer 0 says that there is a host, or why not."""
    return folder / f"{what}-{number}"


def _answer(folder: Path, host: Host, number: int) -> bool:
    """Answer a call; returns False where there is none."""
    found, taken = file_of(folder, CALL, number), file_of(folder, TAKEN, number)
    if found not in set(folder.iterdir()):  # by its name alone a shared disk may deny it for a while
        return False
    found.rename(taken)
    call = read_call(taken)
    outcome = answer(host, call)
    try:
        write_outcome(file_of(folder, ANSWER, number), outcome)
    except TypeError as error:  # the reply holds what can't be sent
        write_outcome(file_of(folder, ANSWER, number), Outcome(call.id, error=portable(error)))
    return True


class Pulse:
    """The service's sign of life: a file whose content changes, by this machine's clock alone.

    Args:
        folder: Of the job.
        lost: Seconds without a change after which the service is gone.
    """

    def __init__(self, folder: Path, lost: float = LOST) -> None:
        self._path = folder / PULSE
        self._lost = lost
        self._seen = b""
        self._since = time.monotonic()

    @property
    def is_beating(self) -> bool:
        """Whether the service has been heard of lately."""
        try:
            found = self._path.read_bytes()
        except OSError:  # the folder is gone, or the disk for a moment
            found = self._seen
        if found != self._seen:
            self._seen, self._since = found, time.monotonic()
        return time.monotonic() - self._since < self._lost

    def end_without(self) -> None:
        """End this process, also in the midst of a call, where the service is gone."""
        while self.is_beating:
            time.sleep(PULSE_EVERY)
        log.error("the site's service is gone, so this job ends")
        os._exit(1)
