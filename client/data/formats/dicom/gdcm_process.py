"""Unpacks JPEG with GDCM, in a process of its own that `gdcm_plugin.py` starts: damaged streams end it.

A request is a line of JSON (the options of a frame, its `length`) and the frame; so is the answer.
"""

import json
import os
import sys
import tempfile
from typing import Any, BinaryIO

from pydicom.encaps import encapsulate
from pydicom.pixels.decoders import JPEGLosslessSV1Decoder


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # GDCM prints, and answers are no place for it
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        while line := sys.stdin.buffer.readline():
            options = json.loads(line)
            frame = sys.stdin.buffer.read(options.pop("length"))
            answer, pixels = _unpacked(frame, options)
            answer["said"] = _read(said)
            answers.write(json.dumps({**answer, "length": len(pixels)}).encode() + b"\n" + pixels)
            answers.flush()


def _unpacked(frame: bytes, options: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Unpack one frame; GDCM goes by its own head, whatever JPEG it is."""
    try:
        pixels, _ = JPEGLosslessSV1Decoder.as_buffer(
            encapsulate([frame]),
            decoding_plugin="gdcm",
            number_of_frames=1,
            pixel_keyword="PixelData",
            **options,
        )
    except Exception as error:  # whatever it is, it is told
        return {"error": " ".join(str(error).split())[:300]}, b""
    return {}, bytes(pixels)


def _read(said: BinaryIO) -> list[str]:
    said.seek(0)
    lines = said.read(10_000).decode(errors="replace").splitlines()
    said.seek(0)
    said.truncate()
    return lines


if __name__ == "__main__":
    main()
