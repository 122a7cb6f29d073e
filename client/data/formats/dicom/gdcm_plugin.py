"""GDCM as a plugin of pydicom for what nothing else unpacks: JPEG Lossless, and JPEG of 12 bits.

It runs in a process of its own, because a damaged stream ends its process.
"""

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

DECODER_DEPENDENCIES = dict.fromkeys((JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), ("python-gdcm",))
_OPTIONS = (
    "rows",
    "columns",
    "samples_per_pixel",
    "bits_allocated",
    "bits_stored",
    "pixel_representation",
    "photometric_interpretation",
    "planar_configuration",
)
_HARMLESS = re.compile(r"data precision|SOS parameters|^\s*$")  # it tries its decoders one after another
_LONGEST = 60.0  # seconds for one frame


def is_available(syntax: str) -> bool:
    """Say if a transfer syntax is unpacked here."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """Return the pixels of a frame, as pydicom asks its plugins for them.

    Raises:
        RuntimeError: It is damaged.
    """
    options = {name: runner.get_option(name) for name in _OPTIONS if runner.get_option(name) is not None}
    return _child().unpacked(frame, options)


class _Child:
    """The process, and the pipes to it."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("gdcm_process.py")
        command = [sys.executable, "-P", str(script)]
        self.owner = os.getpid()
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        atexit.register(self.end)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """End the process; not where it belongs to the one that this was forked from."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.communicate()

    def unpacked(self, frame: bytes, options: dict[str, Any]) -> bytes:
        """Return the pixels of a frame."""
        clock = threading.Timer(_LONGEST, self._process.kill)
        clock.start()
        try:
            answer, pixels = self._answer(frame, options)
        except (OSError, ValueError, EOFError):
            self.end()
            raise RuntimeError("the JPEG is damaged (it ended GDCM)") from None
        finally:
            clock.cancel()
        said = [line for line in answer["said"] if not _HARMLESS.search(line)]
        if "error" in answer or said:
            raise RuntimeError(f"gdcm: {answer.get('error') or said[0]}")
        return pixels

    def _answer(self, frame: bytes, options: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        to, by = self._process.stdin, self._process.stdout
        if to is None or by is None:
            raise EOFError
        to.write(json.dumps({**options, "length": len(frame)}).encode() + b"\n" + frame)
        to.flush()
        answer = json.loads(by.readline())
        pixels = by.read(answer["length"])
        if len(pixels) != answer["length"]:
            raise EOFError
        return answer, pixels


_lock = threading.Lock()
_children: list[_Child] = []


def _child() -> _Child:
    """Return the process of this one, started where there is none."""
    with _lock:
        if _children and (_children[0].owner != os.getpid() or not _children[0].is_alive):
            _children.clear()
        if not _children:
            _children.append(_Child())
        return _children[0]
