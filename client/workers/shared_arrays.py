"""Messages with arrays between two processes of one machine.

The arrays lie in anonymous memory files whose descriptors travel over the pipe. Nothing has a name, so
nothing is left behind when a process is killed, and the size of /dev/shm (64 MB in most containers) does not
matter. PyTorch is not loaded: a hospital's node, which hands messages to its worker, has no need of it.
``torch.multiprocessing`` shares through /dev/shm and a listening socket: as fast, but it keeps a file
open for every tensor received, leaves a folder in /tmp for every process killed, and keeps the memory of
messages that a killed worker had not read.
"""

import ctypes
import math
import mmap
import os
import pickle
import socket
import struct
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *3 * (ctypes.c_int,), ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value
_LENGTH = struct.Struct("!Q")
_MOST_ARRAYS = 253  # in a message: SCM_MAX_FD of Linux


class SharedArray:
    """An array until it is first sent, then its copy in shared memory; gone when the last reference is."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.dtype, self.shape, self.size = array.dtype, array.shape, array.size
        self._array: NDArray[Any] | None = array
        self._file: int | None = None

    def descriptor(self) -> int:
        """Return the file descriptor of the shared copy."""
        if self._file is None:
            assert self._array is not None  # noqa: S101 (it is there until the file is)
            self._file = _anonymous_file()
            content = np.ascontiguousarray(self._array).reshape(-1).view(np.uint8)
            with open(self._file, "wb", closefd=False) as file:  # faster than through a mapping
                file.write(content.data)
            self._array = None
        return self._file

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


class Channel:
    """One end of a two-way pipe for messages with arrays.

    A message is its length, pickled bytes and the descriptors of its arrays, and leaves in one piece: the
    other end wakes up once.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, message: object, arrays: Mapping[str, SharedArray]) -> None:
        """Send a picklable message and arrays.

        Raises:
            OSError: The other end is gone.
        """
        layout = {name: (shared.dtype, shared.shape) for name, shared in arrays.items()}
        files = [shared.descriptor() for shared in arrays.values() if shared.size]
        content = pickle.dumps((message, layout))
        whole = _LENGTH.pack(len(content)) + content
        sent = socket.send_fds(self._socket, [whole], files)
        self._socket.sendall(memoryview(whole)[sent:])

    def receive(self) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Block until a message is there; its arrays are private, copied only when they are written to.

        Raises:
            EOFError: The other end is gone.
            OSError: The other end is gone.
        """
        length, descriptors, _, _ = socket.recv_fds(self._socket, _LENGTH.size, _MOST_ARRAYS)
        with ExitStack() as unused:
            for descriptor in descriptors:
                unused.callback(os.close, descriptor)
            (size,) = _LENGTH.unpack(length + self._read(_LENGTH.size - len(length)))
            message, layout = pickle.loads(self._read(size))  # noqa: S301  (our own process at the other end)
            unused.pop_all()  # a process that is killed in the middle leaves no memory behind
        files = iter(descriptors)
        return message, {
            name: _map(next(files), dtype, shape) if math.prod(shape) else np.empty(shape, dtype)
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


def _map(file: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    size = math.prod(shape) * dtype.itemsize
    try:
        # Python's own mmap keeps the file open as long as the mapping lives.
        place = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, file, 0)
        if place == _FAILED:
            raise OSError(ctypes.get_errno(), "the memory of a message can't be mapped")
    finally:
        os.close(file)
    content = (ctypes.c_char * size).from_address(place)
    unmap = weakref.finalize(content, _libc.munmap, place, size)
    unmap.atexit = False  # arrays may live as long as the process
    return np.frombuffer(memoryview(content), dtype).reshape(shape)
