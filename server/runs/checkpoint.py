"""What a run needs to go on after a crash, in one safetensors file."""

import hashlib
import json
import mmap
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from server.files import write_tensors
from shared.errors import RunError
from shared.metrics.curves import Curves
from shared.run_folder import FORMAT, HEADER, check_format

_STRATEGY, _CURVES, _STATISTICS = "strategy.", "curves.", "statistics."
Tensors = dict[str, NDArray[Any]]
LARGE = 16 * 2**20
"""Bytes of a model that a run does not hold in memory while it is on the disk."""


@dataclass(frozen=True)
class Best:
    """The best round so far by the job's criterion."""

    round: int
    value: float
    vector: NDArray[np.float32]
    curves: Curves | None = None  # of its evaluation


@dataclass(frozen=True)
class Unjudged:
    """What a round has brought before its model is sent out: rows of the tables, as JSON can hold them."""

    row: dict[str, Any]
    sites: list[dict[str, Any]]
    part: dict[str, Any] = field(default_factory=dict)  # who took part, see `server.runs.participation`


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a round; round 0 is the initial model."""

    round: int
    vector: NDArray[np.float32]
    strategy: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    best: Best | None = None
    stale: int = 0  # evaluations since the best one
    curves: Curves | None = None  # of the last evaluation: the bins of the next one follow from them
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # of all sites, before round 1
    unjudged: Unjudged | None = None  # what is left of the round is its evaluation


def write_checkpoint(path: Path, checkpoint: Checkpoint, job_digest: str) -> None:
    """Write a checkpoint atomically.

    Raises:
        RunError: It can't be written; the last one is whole.
    """
    tensors: Tensors = {"vector": checkpoint.vector}
    tensors |= {_STRATEGY + name: array for name, array in checkpoint.strategy.items()}
    tensors |= {_STATISTICS + name: array for name, array in checkpoint.statistics.items()}
    tensors |= _curve_tensors(_CURVES, checkpoint.curves)
    header: dict[str, Any] = {
        "format": FORMAT,
        "job": job_digest,
        "round": checkpoint.round,
        "stale": checkpoint.stale,
    }
    if checkpoint.best is not None:
        tensors["best"] = checkpoint.best.vector
        tensors |= _curve_tensors(f"best.{_CURVES}", checkpoint.best.curves)
        header["best"] = {"round": checkpoint.best.round, "value": checkpoint.best.value}
    if checkpoint.unjudged is not None:
        header["unjudged"] = asdict(checkpoint.unjudged)
    header["sha256"] = _digest(tensors, header)
    known = {HEADER: json.dumps(header)}
    write_tensors(path, lambda file: safetensors.numpy.save_file(tensors, file, known))


def on_disk(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint that was just written, its large models in the memory of the file.

    They are read there when they are needed, and the system may take the memory meanwhile. What replaces the
    file later changes nothing of them. A disk that maps no files leaves them where they are.
    """
    if checkpoint.vector.nbytes < LARGE:
        return checkpoint
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return checkpoint
    start = 8 + int.from_bytes(data[:8], "little")  # of the tensors, behind the header and its length
    header = json.loads(data[8:start])

    def tensor(name: str) -> NDArray[np.float32]:
        begin, end = header[name]["data_offsets"]
        return np.frombuffer(data, np.float32, (end - begin) // 4, start + begin)

    best, vector = checkpoint.best, tensor("vector")
    if best is not None:
        best = replace(best, vector=vector if best.round == checkpoint.round else tensor("best"))
    return replace(checkpoint, vector=vector, best=best)


def read_checkpoint(path: Path, job_digest: str) -> Checkpoint:
    """Read a checkpoint of a job.

    Raises:
        RunError: It is missing, cut short, damaged or of another job.
    """
    try:
        tensors = safetensors.numpy.load_file(path)
        with safetensors.safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {})[HEADER])
        intact = header.pop("sha256") == _digest(tensors, header)
    except FileNotFoundError:
        raise RunError("there is no checkpoint to go on from", where=path) from None
    except OSError as error:
        raise RunError(f"can't be read ({error.strerror})", where=path) from None
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from None
    if not intact:
        raise _damaged(path, "the content does not match its checksum")
    check_format(header.get("format"), path)
    if header["job"] != job_digest:
        raise RunError("belongs to another job", where=path, remedy="Start a new run for the changed job.")
    best, unjudged = header.get("best"), header.get("unjudged")
    return Checkpoint(
        round=header["round"],
        vector=tensors["vector"],
        strategy=_below(_STRATEGY, tensors),
        statistics=_below(_STATISTICS, tensors),
        best=None
        if best is None
        else Best(best["round"], best["value"], tensors["best"], _curves(f"best.{_CURVES}", tensors)),
        stale=header["stale"],
        curves=_curves(_CURVES, tensors),
        unjudged=None if unjudged is None else Unjudged(**unjudged),
    )


def _curve_tensors(prefix: str, curves: Curves | None) -> Tensors:
    return {} if curves is None else {prefix + name: array for name, array in vars(curves).items()}


def _curves(prefix: str, tensors: Tensors) -> Curves | None:
    found = _below(prefix, tensors)
    return Curves(**found) if found else None


def _below(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _digest(tensors: Tensors, header: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).view(np.uint8).data)
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> RunError:
    return RunError(
        f"is cut short or damaged ({reason})",
        where=path,
        remedy="Restore the file from a backup, or start a new run.",
    )
