"""Messages with arrays between two processes of one machine."""

import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from client.workers.shared_arrays import Channel, SharedArray

OPEN_FILES = Path("/proc/self/fd")


def test_a_message_larger_than_the_pipe_arrives_with_its_arrays() -> None:
    ours, theirs = (Channel(end) for end in multiprocessing.Pipe())
    vector = np.arange(1000.0)
    arrays = {"vector": SharedArray(vector), "empty": SharedArray(np.empty((0, 3)))}
    if os.fork() == 0:
        ours.send({"text": "x" * 1_000_000}, arrays)
        os._exit(0)
    message, received = theirs.receive()
    os.wait()
    assert message == {"text": "x" * 1_000_000}
    assert np.array_equal(received["vector"], vector)
    received["vector"] += 1  # it is the receiver's own
    assert vector[0] == 0
    assert received["empty"].shape == (0, 3)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="open files are counted in /proc")
@pytest.mark.parametrize("begun", [b"\0\0\0", b"\0\0\0\0\0\0\0\x10half"], ids=["length", "message"])
def test_a_message_cut_short_leaves_nothing_open(begun: bytes) -> None:
    ours, theirs = multiprocessing.Pipe()
    channel = Channel(theirs)
    before = len(list(OPEN_FILES.iterdir()))
    with socket.socket(fileno=os.dup(ours.fileno())) as pipe, Path(os.devnull).open() as file:
        socket.send_fds(pipe, [begun], [file.fileno()])
    ours.close()
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()
    assert len(list(OPEN_FILES.iterdir())) == before - 2  # both ends are closed
