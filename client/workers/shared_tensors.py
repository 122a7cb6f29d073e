"""Messages with tensors between two processes of one machine.

The tensors lie in anonymous memory files whose descriptors travel over the pipe. Nothing has a name, so
nothing is left behind when a process is killed, and the size of /dev/shm (64 MB in most containers) does not
matter. ``torch.multiprocessing`` shares through /dev/shm and a listening socket: as fast, but it keeps a file
open for every tensor received, leaves a folder in /tmp for every process killed, and keeps the memory of
messages that a killed worker had not read.
"""

import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

import torch

_LENGTH = struct.Struct("!Q")
_MOST_TENSORS = 253  # in a message: SCM_MAX_FD of Linux


class SharedTensor:
    """A tensor until it is first sent, then its copy in shared memory; gone when the last reference is."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.dtype, self.shape = tensor.dtype, tensor.shape
        self._tensor: torch.Tensor | None = tensor
        self._file: int | None = None

    def descriptor(self) -> int:
        """Return the file descriptor of the shared copy."""
        if self._file is None:
            assert self._tensor is not None  # noqa: S101 (it is there until the file is)
            self._file = _anonymous_file()
            content = self._tensor.reshape(-1).view(torch.uint8).numpy()
            with open(self._file, "wb", closefd=False) as file:  # faster than through a mapping
                file.write(content.data)
            self._tensor = None
        return self._file

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


class Channel:
    """One end of a two-way pipe for messages with tensors.

    A message is its length, pickled bytes and the descriptors of its tensors, and leaves in one piece: the
    other end wakes up once.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, message: object, tensors: Mapping[str, SharedTensor]) -> None:
        """Send a picklable message and tensors.

        Raises:
            OSError: The other end is gone.
        """
        layout = {name: (shared.dtype, shared.shape) for name, shared in tensors.items()}
        files = [shared.descriptor() for shared in tensors.values() if shared.shape.numel()]
        content = pickle.dumps((message, layout))
        whole = _LENGTH.pack(len(content)) + content
        sent = socket.send_fds(self._socket, [whole], files)
        self._socket.sendall(memoryview(whole)[sent:])

    def receive(self) -> tuple[Any, dict[str, torch.Tensor]]:
        """Block until a message is there; its tensors are private, copied only when they are written to.

        Raises:
            EOFError: The other end is gone.
            OSError: The other end is gone.
        """
        length, descriptors, _, _ = socket.recv_fds(self._socket, _LENGTH.size, _MOST_TENSORS)
        with ExitStack() as unused:
            for descriptor in descriptors:
                unused.callback(os.close, descriptor)
            (size,) = _LENGTH.unpack(length + self._read(_LENGTH.size - len(length)))
            message, layout = pickle.loads(self._read(size))  # noqa: S301  (our own process at the other end)
            unused.pop_all()  # a process that is killed in the middle leaves no memory behind
        files = iter(descriptors)
        return message, {
            name: _map(next(files), dtype, shape) if shape.numel() else torch.empty(shape, dtype=dtype)
            for name, (dtype, shape) in layout.items()
        }

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
        self.connection.close()

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            piece = self._socket.recv(size - len(content))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    @cached_property
    def _socket(self) -> socket.socket:
        return socket.socket(fileno=os.dup(self.connection.fileno()))


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("wardround")
    with tempfile.TemporaryFile() as file:  # macOS
        return os.dup(file.fileno())


def _map(file: int, dtype: torch.dtype, shape: torch.Size) -> torch.Tensor:
    try:
        return torch.from_file(f"/dev/fd/{file}", shared=False, size=shape.numel(), dtype=dtype).view(shape)
    finally:
        os.close(file)
