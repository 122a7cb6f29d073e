"""Questions of a cluster's job to the site's service, by two files in the job's folder.

Both names are there before the job begins: a disk that several machines share may show a new name late, while
a file that is opened by a name that it has had for long is the newest (close-to-open consistency of NFS).
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shared.files import replace_file

log = logging.getLogger(__name__)

ASKED, TOLD = "asked", "told"
"""Names of the files: in each a line with the question's number, from 1 in a job, then the content."""
_LOOKS = (0.005, 0.5)  # seconds between looks: first, and at most
_EAGER = 1 / 20  # looks again after this part of the time since the last question, or since it was asked

Answer = Callable[[bytes], bytes]
"""Answers a question, whatever it is, without an exception; not called twice for one question."""


class Questions:
    """The side of the job, which asks one question at a time.

    A service that is gone does not answer: whoever asks ends then, see `client.workers.batch_worker.Pulse`.

    Args:
        folder: Of the job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def ask(self, question: bytes) -> bytes:
        """Return the service's answer.

        Raises:
            OSError: The question can't be written.
        """
        self._number += 1
        _write(self._folder / ASKED, self._number, question)
        begun = time.monotonic()
        while True:
            with suppress(OSError, ValueError):  # the disk is away for a moment, or shows a part
                number, answer = _read(self._folder / TOLD)
                if number == self._number:
                    return answer
            time.sleep(_until_next_look(begun))


class Desk:
    """The service's side: a thread that answers the questions of one job.

    An answer that can't be written, since the disk is full, is kept and written later.

    Args:
        folder: Of the job, before that begins.
        answer: Answers.

    Raises:
        OSError: The files can't be made.
    """

    def __init__(self, folder: Path, answer: Answer) -> None:
        self._folder = folder
        self._answer = answer
        self._end = threading.Event()
        for name in (ASKED, TOLD):
            _write(folder / name, 0, b"")
        self._thread = threading.Thread(target=self._serve, name="questions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more; what is being answered is finished first."""
        self._end.set()
        self._thread.join()

    def _serve(self) -> None:
        answered, is_told, told, last = 0, True, b"", time.monotonic()
        while not self._end.wait(_until_next_look(last)):
            try:
                number, question = _read(self._folder / ASKED)
                if number == answered + 1:
                    answered, is_told, told, last = number, False, self._answer(question), time.monotonic()
                if not is_told:
                    _write(self._folder / TOLD, answered, told)
                    is_told = True
            except (OSError, ValueError) as error:
                log.debug("a job's questions: %s", error)


def _until_next_look(since: float) -> float:
    shortest, longest = _LOOKS
    return min(max(shortest, (time.monotonic() - since) * _EAGER), longest)


def _write(path: Path, number: int, content: bytes) -> None:
    replace_file(path, b"%d\n%s" % (number, content), sync=False)


def _read(path: Path) -> tuple[int, bytes]:
    number, _, content = path.read_bytes().partition(b"\n")
    return int(number), content
