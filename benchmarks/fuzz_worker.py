"""One process that reads changed files, one after the other, and says what became of each."""

import contextlib
import gzip
import json
import mmap
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from fuzz_dicom import series
from fuzz_files import Seed
from fuzz_mutations import changed
from fuzz_others import COMPARED, Fault, is_as_others_read_it
from numpy.typing import NDArray

from client.data.check.fingerprints import fingerprint
from client.data.check.identifying_headers import identifying_fields
from client.data.formats.picture import Picture
from client.data.images.readers import Layout, mask_values, read_files, read_raw_mask
from client.data.kinds.image_columns import image_columns
from client.data.manifest.conventions import read_folder
from client.data.manifest.rows import scan_manifest
from shared.errors import WardroundError
from shared.text.printable import printable

OUTCOMES = ("read", "refused", "finding", "compared")  # what was read may also have been compared
MEMORY = 2**30  # bytes that reading one small file may take
LONGEST = 5.0  # seconds of processor time that it may take
_LONGEST_MESSAGE = 4000  # a table's columns are listed
_OF_MEMORY = ("memory", "bad_alloc", "allocate ")
_PROJECT = Path(__file__).parents[1]
_REFUSED = ("DICOM cine", "DICOM dose", "DICOM rle of two frames")  # by name, as they are


@dataclass(frozen=True)
class Board:
    """What the worker writes and its supervisor reads, also after a crash.

    Attributes:
        tallies: (kinds, outcomes).
        slowest: (kinds,), seconds of processor time.
        state: Number of the input at hand, seconds of processor time at its begin, of the clock then, and the
            most memory in MB.
    """

    tallies: NDArray[np.int64]
    slowest: NDArray[np.float64]
    state: NDArray[np.float64]

    @classmethod
    def shared(cls, kinds: int) -> "Board":
        """Return a board in memory that forked processes share."""
        memory = mmap.mmap(-1, 8 * (kinds * (len(OUTCOMES) + 1) + 4))
        words = np.frombuffer(memory, np.float64)
        tallies = words[: kinds * len(OUTCOMES)].view(np.int64).reshape(kinds, len(OUTCOMES))
        return cls(tallies, words[kinds * len(OUTCOMES) : -4], words[-4:])


def work(inputs: range, seeds: list[Seed], run: str, board: Board, findings: Path) -> None:
    """Read the inputs with these numbers."""
    reader = _Reader(seeds, findings)
    try:
        for number in inputs:
            reader.input(number, run, board)
    finally:
        shutil.rmtree(reader.folder, ignore_errors=True)


def input_of(number: int, seeds: list[Seed], run: str) -> tuple[Seed, bytes]:
    """Return the file from which an input is made, and its bytes."""
    seed = seeds[number % len(seeds)]
    return seed, changed(seed, random.Random(f"{run}-{number}"))  # noqa: S311 (to be repeated, not secret)


class _Reader:
    def __init__(self, seeds: list[Seed], findings: Path) -> None:
        self.seeds = seeds
        self.findings = findings
        self.folder = Path(tempfile.mkdtemp(dir=findings.parent))
        self.image = self.folder / "image"
        self.image.mkdir()
        for number, item in enumerate(series()):
            item.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            pydicom.dcmwrite(self.image / f"{number}.dcm", item, enforce_file_format=True)
        self.place = self.folder / "x"
        warnings.simplefilter("always")
        self.originals = {seed.kind: self._original(seed) for seed in seeds}
        self.said = (self.folder / "said").open("w+b")
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in (1, 2):
            os.dup2(self.said.fileno(), number)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def input(self, number: int, run: str, board: Board) -> None:
        """Read one input, and write down what became of it."""
        seed, content = input_of(number, self.seeds, run)
        kind = number % len(self.seeds)
        begun = time.process_time()
        board.state[:3] = number, begun, time.monotonic()
        outcome, why = self._outcome(seed, content)
        took = time.process_time() - begun
        if took > LONGEST:
            outcome, why = "finding", f"took {took:.0f} s"
        board.slowest[kind] = max(board.slowest[kind], took)
        board.tallies[kind, OUTCOMES.index(outcome)] += 1
        board.tallies[kind, OUTCOMES.index("compared")] += self.compared
        board.state[3] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if outcome == "finding":
            with self.findings.open("a") as file:
                file.write(json.dumps({"number": number, "kind": seed.kind, "why": why}) + "\n")

    def _outcome(self, seed: Seed, content: bytes) -> tuple[str, str]:
        outcome, why, array = "read", "", None
        self.compared = False
        try:
            array = self._array(seed, content)
            self._require_right(seed, content, array)
        except WardroundError as error:
            outcome = "refused"
            why = _fault_of(error)
        except Fault as fault:
            why = str(fault)
        except Exception as error:
            why = f"{type(error).__name__} in {_place(error)}: {printable(error)[:200]}"
        said = self._printed()
        why = why or (said and f"printed: {said}") or self._other(seed, array)
        return ("finding", why) if why else (outcome, "")

    def _other(self, seed: Seed, array: NDArray[np.float32] | None) -> str:
        """Return what another library reads otherwise; empty where nothing."""
        if array is None or seed.kind not in COMPARED:
            return ""
        try:
            self.compared = is_as_others_read_it(self.place / seed.name, seed, array)
        except Fault as fault:
            return str(fault)
        except Exception:
            return ""  # the other one fails: its fault
        finally:
            self._printed()  # by the other one
        return ""

    def _original(self, seed: Seed) -> NDArray[np.float32] | None:
        with contextlib.suppress(WardroundError) if seed.kind in _REFUSED else contextlib.nullcontext():
            return self._array(seed, seed.content)
        return None

    def _array(self, seed: Seed, content: bytes) -> NDArray[np.float32] | None:
        """Read a file as the check of a dataset and the training do."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        for name, data in seed.beside:
            (self.place / name).parent.mkdir(exist_ok=True)
            (self.place / name).write_bytes(data)
        path = self.place / seed.name
        path.write_bytes(content)
        if seed.name == "manifest.csv":
            scan_manifest(path, image_columns(path))
            return None
        if seed.name == "dataset.json":
            read_folder(self.place)
            return None
        picture = self._picture(path, seed)
        identifying_fields(path)
        _require_sane(picture)
        return picture.array

    def _picture(self, path: Path, seed: Seed) -> Picture:
        if not seed.mask:
            picture = read_files([path], None, Layout())[0]
            fingerprint(picture.array)
            return picture
        if seed.form != "dicom":
            picture = read_raw_mask(path)
            mask_values(picture, path)
        else:
            picture = read_files([self.image], path, Layout(3, classes=("liver",)))[1]
        assert picture is not None
        return picture

    def _require_right(self, seed: Seed, content: bytes, array: NDArray[np.float32] | None) -> None:
        """Refuse numbers of a file that is not whole, unless they are those of the whole one."""
        original = self.originals[seed.kind]
        if array is None or original is None or np.array_equal(array, original):
            return
        if len(content) < len(seed.content) and seed.content.startswith(content):
            raise Fault("a file cut short is read, with other numbers")
        if is_damaged(seed, content):
            raise Fault("a file whose checksum is wrong is read, with other numbers")

    def _printed(self) -> str:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if not self.said.seek(0, os.SEEK_END):
            return ""
        self.said.seek(0)
        text = self.said.read(300).decode(errors="replace")
        self.said.truncate(0)
        self.said.seek(0)
        return printable(text)


def is_damaged(seed: Seed, content: bytes) -> bool:
    """Say if a checksum of a file is wrong."""
    if seed.name.endswith(".gz"):
        with contextlib.suppress(OSError, EOFError, zlib.error):
            gzip.decompress(content)
            return False
        return True
    at = 8
    while seed.form == "png" and at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        critical = content[at + 4 : at + 5].isupper()
        if critical and zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return True
        if content[at + 4 : at + 8] == b"IEND":
            return False
        at = end + 4
    return False


def _require_sane(picture: Picture) -> None:
    array = picture.array
    axes = len(picture.shape)
    if axes not in (2, 3) or 0 in array.shape:
        raise Fault(f"an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise Fault("numbers that are not finite")
    spacing, affine = picture.spacing, picture.affine
    if spacing is not None and (len(spacing) != axes or not all(0 < length < np.inf for length in spacing)):
        raise Fault(f"a spacing of {spacing}")
    if affine is not None and (affine.shape != (3, axes + 1) or not np.isfinite(affine).all()):
        raise Fault("a place that is none")
    if picture.background is not None and picture.background.shape != picture.shape:
        raise Fault("padding of another shape")


def _fault_of(error: WardroundError) -> str:
    """Return what is wrong with a message; empty where it is fit to be printed."""
    text = str(error)
    if len(text) > _LONGEST_MESSAGE or text.count("\n") > 1:
        return f"a message of {len(text)} letters: {printable(text)[:200]}"
    if any(word in text.lower() for word in _OF_MEMORY):
        return f"takes memory before it looks: {printable(text)[:200]}"
    return ""


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT / "client")]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
