"""What runs in a worker process."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import connection
from typing import Any

from numpy.typing import NDArray

from client.workers.calls import Host, Outcome, answer, portable
from client.workers.pool import Ready, Refused
from client.workers.shared_arrays import Channel, SharedArray
from shared.loading import loading


def serve(channel: Channel, pickled_factory: bytes, threads: int, environment: Mapping[str, str]) -> None:
    """Build the host, then answer calls until the parent closes the pipe or is gone.

    Args:
        channel: To the parent.
        pickled_factory: Makes the host.
        threads: Of PyTorch.
        environment: The parent's; that of a process which was forked is older.
    """
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with loading(for_good=True):
            host = _made(pickled_factory, threads)
    except Exception as error:
        channel.send(Refused(portable(error)), {})
        return
    try:
        channel.send(Ready(), {})
        while True:
            _answer_next(channel, host)
    except (EOFError, OSError):
        return


def _made(pickled_factory: bytes, threads: int) -> Host:
    set_threads(threads)
    host: Host = pickle.loads(pickled_factory)()  # noqa: S301  (the parent's own bytes)
    return host


def set_threads(threads: int) -> None:
    """Set the number of PyTorch's threads, once in a process."""
    import torch  # noqa: PLC0415 (the parent, which imports this module, may have no need of it)

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


def _answer_next(channel: Channel, host: Host) -> None:
    call, arrays = channel.receive()
    outcome = answer(host, replace(call, arrays=arrays))
    try:
        channel.send(replace(outcome, arrays={}), _shared(outcome.arrays))
    except OSError:
        raise
    except Exception as error:  # nothing was sent: the reply can't be pickled
        channel.send(Outcome(outcome.id, error=portable(error), seconds=outcome.seconds), {})


def _shared(arrays: Mapping[str, NDArray[Any]]) -> dict[str, SharedArray]:
    return {name: SharedArray(array) for name, array in arrays.items()}


def _end_with_parent() -> None:
    """Wait for the parent's end, also in the middle of a call, and leave at once."""
    if parent := multiprocessing.parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)
