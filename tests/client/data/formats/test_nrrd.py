"""NRRD whose packed numbers are not those that its header says."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from client.data.images.readers import read_image
from shared.errors import DataError

VOLUME = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


@pytest.mark.parametrize("beside", [False, True], ids=["within", "beside"])
def test_packed_numbers_of_nrrd_are_as_many_as_its_header_says_and_whole(
    tmp_path: Path, beside: bool
) -> None:
    def written(content: bytes) -> Path:
        head = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: gzip\n"
        if not beside:
            path = tmp_path / "a.nrrd"
            path.write_bytes(head.encode() + b"\n" + content)
            return path
        (tmp_path / "a.raw.gz").write_bytes(content)
        path = tmp_path / "a.nhdr"
        path.write_text(head + "data file: a.raw.gz\n\n")
        return path

    packed = gzip.compress(VOLUME.tobytes())
    read = read_image(written(packed))
    assert (read.turn.undo(read.array)[0].T == VOLUME).all()
    for content, said in (
        (gzip.compress(VOLUME.tobytes() + b"\1\0"), "holds more"),
        (packed + gzip.compress(b"\1\0"), "holds more"),
        (packed[:-8], "was cut short"),
        (packed[:-8] + b"\0" * 8, "is damaged"),
    ):
        with pytest.raises(DataError, match=said):
            read_image(written(content))


WORDS = " ".join(map(str, VOLUME.ravel())).encode()
RAW = VOLUME.tobytes()


@pytest.mark.parametrize(
    ("encoding", "more", "content"),
    [
        ("ascii", "", WORDS),
        ("hex", "", RAW.hex().encode()),
        ("raw", "line skip: 2\n", b"two\nlines\n" + RAW),
        ("raw", "lineskip: 1\nbyteskip: 3\n", b"one\n123" + RAW),
        ("gzip", "line skip: 1\n", b"one\n" + gzip.compress(RAW)),
    ],
    ids=["words", "hex", "lines", "together", "packed"],
)
def test_numbers_beyond_those_of_the_header_are_found_however_they_stand_there(
    tmp_path: Path, encoding: str, more: str, content: bytes
) -> None:
    head = (
        f"NRRD0004\ntype: int16\ndimension: 3\nsizes: 3 4 5\nendian: little\nencoding: {encoding}\n{more}\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(head.encode() + content)
    read = read_image(path)
    assert (read.turn.undo(read.array)[0].T == VOLUME).all()
    longer = gzip.compress(RAW + b"\7\0") if encoding == "gzip" else b""
    end = {"ascii": b" 7", "hex": b"0700"}.get(encoding, b"\7\0")
    path.write_bytes(head.encode() + (content[:4] + longer if longer else content + end))
    with pytest.raises(DataError, match="holds more"):
        read_image(path)
