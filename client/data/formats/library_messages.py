"""What libraries say while they read a file: kept for our own words, and off the terminal.

Some of them go on where a file is damaged and tell it to the standard error alone.
"""

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

_LOGGERS = [logging.getLogger(name) for name in ("nibabel.global", "pydicom", "highdicom", "PIL", "tifffile")]
_MOST = 10_000  # bytes that a library is listened to
_lock = threading.Lock()


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """Collect the warnings and log messages of the libraries that read files; none is printed.

    Yields:
        What they say, as it comes; warnings are there when the block ends.
    """
    listener = _Listener()
    before = [(logger.handlers, logger.propagate) for logger in _LOGGERS]
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for logger in _LOGGERS:
            logger.handlers, logger.propagate = [listener], False
        try:
            yield listener.said
        finally:
            for logger, (handlers, propagate) in zip(_LOGGERS, before, strict=True):
                logger.handlers, logger.propagate = handlers, propagate
            listener.said.extend(str(warning.message) for warning in given)


@contextlib.contextmanager
def standard_error_heard(complaint: re.Pattern[str]) -> Iterator[list[str]]:
    """Collect what a C or C++ library writes to the standard error of the process.

    Args:
        complaint: What its lines look like; others, such as the log of another thread, go their way.

    Yields:
        Its lines; they are there when the block ends.
    """
    lines: list[str] = []
    with _lock, tempfile.TemporaryFile() as heard:
        if sys.stderr is not None:
            sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            for line in heard.read(_MOST).splitlines(keepends=True):
                if complaint.search(text := line.decode(errors="replace").strip()):
                    lines.append(text)
                elif text:
                    os.write(2, line)
