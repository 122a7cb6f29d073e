"""Messages between a service and its worker on another machine, as files in a folder that both see.

A message is one safetensors file: the arrays, and all else as JSON in its header. Nothing of it is unpickled,
since others may reach a shared disk. A file is there whole or not at all.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from client.workers.calls import Call, HostError, Outcome
from shared.errors import RunError, SiteError, WardroundError
from shared.files import replace_tensors

_HEADER = "wardround"
_BYTES = "bytes"  # the one key of an object that stands for bytes
_ERRORS: dict[str, type[WardroundError]] = {kind.__name__: kind for kind in (SiteError, RunError)}
_NO_NUMBERS = "none"  # key of the array that a file without arrays has, as safetensors can't write none


def write_call(path: Path, call: Call) -> None:
    """Write a call.

    Raises:
        OSError: It can't be written.
        TypeError: Something in it is neither plain nor bytes.
    """
    header = {"id": call.id, "site": call.site, "kind": call.kind, "payload": call.payload}
    _write(path, header, call.arrays)


def read_call(path: Path) -> Call:
    """Read a call; the file is whole, as it came by its name.

    Raises:
        OSError: It can't be read.
        ValueError: It is not a message.
    """
    header, arrays = _read(path)
    return Call(header["id"], header["site"], header["kind"], header["payload"], arrays)


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write what became of a call; of an error its words are kept."""
    header = {
        "id": outcome.id,
        "payload": outcome.payload,
        "seconds": outcome.seconds,
        "error": None if outcome.error is None else _error_parts(outcome.error),
    }
    _write(path, header, outcome.arrays)


def read_outcome(path: Path) -> Outcome:
    """Read what became of a call, see `read_call`."""
    header, arrays = _read(path)
    error = None if header["error"] is None else _error(header["error"])
    return Outcome(header["id"], header["payload"], arrays, error, header["seconds"])


def _write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    tensors = tensors or {_NO_NUMBERS: np.zeros(0, np.uint8)}
    known = {_HEADER: json.dumps(header, default=_plain)}
    # Not brought to the disk at once: after a power cut the job is gone, too.
    replace_tensors(path, lambda part: safetensors.numpy.save_file(tensors, part, known), sync=False)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            header = json.loads(file.metadata()[_HEADER], object_hook=_from_plain)
        arrays = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is not a message ({error})") from None
    arrays.pop(_NO_NUMBERS, None)
    return header, arrays


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} can't be sent to another machine")


def _from_plain(table: dict[str, Any]) -> Any:
    return base64.b64decode(table[_BYTES]) if table.keys() == {_BYTES} else table


def _error_parts(error: BaseException) -> dict[str, str | None]:
    if isinstance(error, WardroundError):
        kind = next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), RunError.__name__)
        return {"kind": kind, "problem": error.problem, "where": error.where, "remedy": error.remedy}
    return {"kind": None, "problem": str(error)}


def _error(parts: Mapping[str, str | None]) -> BaseException:
    kind, problem = parts["kind"], parts["problem"] or ""
    if kind is None:
        return HostError(problem)
    return _ERRORS[kind](problem, where=parts["where"], remedy=parts["remedy"])
