"""Weights that a job starts from: read from a file, matched with its network, put in; loads PyTorch.

A digest in the job's text says what it starts from: the SHA-256 of names, shapes and numbers of all tensors
of the network but those that are drawn (`fresh`). So a hospital, which never sees the file, can tell from the
first model that it gets whether that is what it has approved.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from shared.errors import JobError
from shared.networks.options import NetworkOptions
from shared.text.names import is_within
from shared.text.plural import many
from shared.text.printable import printable
from shared.wire.packed_model import Layout

Tensors = Mapping[str, Tensor]
T = TypeVar("T")
_MOST = 0.3  # of a network's names begin with what is around it
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Match:
    """What a file has for a network.

    Attributes:
        taken: Float32 tensors, by the names in the network.
        used: Their names in the file.
        missing: Names in the network of what the file has not.
        unused: Names in the file of what the network has not, or in another shape.
    """

    taken: Tensors
    used: frozenset[str]
    missing: list[str]
    unused: list[str]

    @property
    def fresh(self) -> list[str]:
        """The highest modules (or tensors) of the network that hold what is missing and nothing else."""
        return sorted(_covering(set(self.missing), self.taken))

    def require_same_norm(self, table: str) -> None:
        """Check that no batch norm gives its weights to another norm.

        Raises:
            JobError: One does; without its statistics its weights mean something else.
        """
        weights = {name.rpartition(".")[0] for name in self.used}
        lost = (name for name in self.unused if name.endswith(_STATISTICS))
        if (name := next((name for name in lost if name.rpartition(".")[0] in weights), None)) is not None:
            raise JobError(
                f"the start has statistics of batch norm ({printable(name)}), and the network another norm",
                where=f"[{table}] norm",
                remedy="Set norm = 'frozen' or 'batch'.",
            )


def match(model: nn.Module, tensors: Tensors) -> Match:
    """Match tensors with those of a network by name and shape.

    Names may have a common beginning in front, there or here (`module.`, `model.`); the pair of beginnings by
    which most tensors fit is taken.

    Raises:
        JobError: Nothing fits, two pairs of beginnings fit equally well, or what fits is not all finite.
    """
    shapes = {entry.name: entry.shape for entry in Layout.of(model).entries}
    floats = {name: tensor.resolve_neg() for name, tensor in tensors.items() if _has_numbers(tensor)}
    fitting: dict[frozenset[tuple[str, str]], None] = {}
    most = 0
    for theirs in _beginnings(floats):
        for own in _beginnings(shapes):
            pairs = frozenset(_pairs(shapes, floats, own, theirs))
            if len(pairs) > most:
                fitting, most = {}, len(pairs)
            if pairs and len(pairs) == most:
                fitting[pairs] = None
    if not fitting:
        raise JobError("nothing in it fits the network, by name and shape")
    if len(fitting) > 1:
        raise JobError("its tensors fit the network in more than one way")
    taken = {own: _finite(theirs, floats[theirs].detach().float()) for own, theirs in next(iter(fitting))}
    used = frozenset(theirs for _, theirs in next(iter(fitting)))
    ordered = {name: taken[name] for name in shapes if name in taken}
    return Match(
        ordered,
        used,
        [name for name in shapes if name not in taken],
        [name for name in tensors if name not in used and not name.endswith("num_batches_tracked")],
    )


def _has_numbers(tensor: Tensor) -> bool:
    """Say whether a tensor holds a float for each place; files of PyTorch have other kinds too."""
    is_plain = tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_nested
    return is_plain and tensor.dtype in _FLOATS


def _finite(name: str, numbers: Tensor) -> Tensor:
    if not bool(numbers.isfinite().all()):
        raise JobError(
            f"{printable(name)} holds what is not a finite number (in float32)",
            remedy="Take weights from before the training that lost them.",
        )
    return numbers.contiguous()


def _pairs(
    shapes: Mapping[str, tuple[int, ...]], floats: Tensors, own: str, theirs: str
) -> Iterator[tuple[str, str]]:
    """Yield the names (own, theirs) of what fits, if each side's beginning is taken off."""
    for name, shape in shapes.items():
        other = theirs + name.removeprefix(own)
        if name.startswith(own) and other in floats and tuple(floats[other].shape) == shape:
            yield name, other


def _beginnings(names: Collection[str]) -> list[str]:
    """Return what names may begin with that says nothing: nothing, or modules around most of a network."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")[:-1]
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 3) + 1))
    return ["", *sorted(begin for begin, count in counts.items() if count >= _MOST * len(names))]


def _covering(missing: set[str], taken: Collection[str]) -> set[str]:
    """Return the highest modules that have nothing of what was taken, or the tensors themselves."""
    split = [name.split(".") for name in taken]
    kept = {".".join(parts[:depth]) for parts in split for depth in range(len(parts))}
    found = set()
    for name in missing:
        parts = name.split(".")
        outside = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        found.add(next(part for part in outside if part not in kept))
    return found


def digest_of(tensors: Tensors) -> str:
    """Return the SHA-256 of tensors, in hexadecimal: of names, shapes and float32 numbers, by name."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        numbers = tensors[name].detach().float().contiguous().cpu()
        found.update(f"{name} {list(numbers.shape)}\n".encode())
        found.update(numbers.numpy().astype("<f4", copy=False).tobytes())
    return found.hexdigest()


def given_by_start(options: NetworkOptions, tensors: Mapping[str, T]) -> dict[str, T]:
    """Return those of a network's tensors that its start gives, by their names: all but what is drawn."""
    fresh = options.fresh or []
    return {name: tensor for name, tensor in tensors.items() if not is_within(name, fresh)}


@torch.no_grad()
def put_into(model: nn.Module, options: NetworkOptions, tensors: Tensors) -> Match:
    """Put the tensors of a start into a network, and return what was there for it.

    Raises:
        JobError: They are not what the job's digest says, or leave open what the job does not draw.
    """
    found = match(model, tensors)
    undrawn = [name for name in found.missing if not is_within(name, options.fresh or [])]
    if undrawn:
        raise JobError(
            f"start '{options.start}' has nothing for {many(len(undrawn), 'tensor')} of the network, such as "
            f"{printable(undrawn[0])}",
            where="[model]",
            remedy=f"Let them be drawn: fresh = {found.fresh}",
        )
    found.require_same_norm("model")
    given = given_by_start(options, found.taken)
    if digest_of(given) != options.start_sha256:
        raise JobError(
            f"the file of start '{options.start}' is not the one that start_sha256 names",
            where="[model]",
            remedy="`wardround job start FILE --job JOB.toml` prints the digest of a file.",
        )
    state = model.state_dict(keep_vars=True)
    for name, tensor in given.items():
        state[name].copy_(tensor)
    return found
