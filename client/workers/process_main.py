"""What runs in a worker process."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import connection

import torch

from client.workers.calls import Host, Outcome, answer, portable
from client.workers.pool import Ready, Refused
from client.workers.shared_tensors import Channel, SharedTensor


def serve(channel: Channel, pickled_factory: bytes, threads: int) -> None:
    """Build the host, then answer calls until the parent closes the pipe or is gone."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        host = pickle.loads(pickled_factory)()  # noqa: S301  (the parent's own bytes)
    except Exception as error:
        channel.send(Refused(portable(error)), {})
        return
    try:
        channel.send(Ready(), {})
        while True:
            _answer_next(channel, host)
    except (EOFError, OSError):
        return


def _answer_next(channel: Channel, host: Host) -> None:
    call, tensors = channel.receive()
    outcome = answer(host, replace(call, tensors=tensors))
    try:
        channel.send(replace(outcome, tensors={}), _shared(outcome.tensors))
    except OSError:
        raise
    except Exception as error:  # nothing was sent: the reply can't be pickled
        channel.send(Outcome(outcome.id, error=portable(error), seconds=outcome.seconds), {})


def _shared(tensors: Mapping[str, torch.Tensor]) -> dict[str, SharedTensor]:
    return {name: SharedTensor(tensor.detach()) for name, tensor in tensors.items()}


def _end_with_parent() -> None:
    """Wait for the parent's end, also in the middle of a call, and leave at once."""
    if parent := multiprocessing.parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)
