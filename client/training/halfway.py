"""A round of training that goes on in its midst after its process was killed, with the same bits.

Every few minutes all that a step changes is written to the site's disk: networks, moments of the optimisers,
PyTorch's random state, the sums so far. What is drawn by number (batches, changes of images) needs no state.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import torch
from torch import Tensor, nn

from client.training.optimiser_state import moments_of, take_up
from client.training.phases import Work
from shared.files import replace_tensors

_log = logging.getLogger(__name__)

EVERY = 300.0  # seconds between two writings: a round that is shorter writes nothing
_HEADER = "wardround"
_DRAWN, _DRAWN_THERE, _TOTAL = "drawn", "drawn-there", "total"  # names of what is no part of a network


class Halfway:
    """The file of a pass over the data that is under way.

    Args:
        path: The file; the same pass of the next round replaces it.
        key: Names the pass by all that it follows from; the file of another is of no use to it.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._written = time.monotonic()
        self._is_long = False  # something was written, so the end is, too

    @property
    def is_due(self) -> bool:
        """Whether the next writing is."""
        return time.monotonic() - self._written >= EVERY

    def write(self, parts: "Parts", step: int, *, is_end: bool = False) -> None:
        """Write the state after a number of steps; a disk that is full costs the pass nothing.

        Args:
            parts: The training.
            step: How many steps were taken.
            is_end: There are no more: written where earlier states were, as sending may take long, too.
        """
        if is_end and not self._is_long:
            return
        tensors = parts.tensors()
        orders = {name: _order(tensor) for name, tensor in tensors.items() if not tensor.is_contiguous()}
        header = {"key": self._key, "step": step, "numbers": parts.numbers(), "orders": orders}
        rows = {
            name: tensor.permute(orders.get(name, list(range(tensor.dim())))).contiguous().numpy()
            for name, tensor in tensors.items()
        }
        known = {_HEADER: json.dumps(header)}
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_tensors(self._path, lambda part: safetensors.numpy.save_file(rows, part, known))
        except OSError as error:
            _log.warning("a round can't be kept in its midst: %s", error.strerror)
        self._written, self._is_long = time.monotonic(), True

    def take_up(self, parts: "Parts") -> int:
        """Let a training go on from what was written of this pass; returns how many steps that has."""
        try:
            with safetensors.safe_open(self._path, "pt") as file:
                header: dict[str, Any] = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
                if header.get("key") != self._key:
                    return 0
                orders = header.get("orders", {})
                found = {
                    name: _put_back(file.get_tensor(name), orders.get(name))
                    for name in file.keys()  # noqa: SIM118 (no mapping)
                }
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            _log.warning("what was kept of a round in its midst can't be used: %s", error)
            return 0
        parts.take_up(found, header["numbers"])
        self._is_long = True
        _log.info("a round goes on in its midst")
        return int(header["step"])


class Parts:
    """All of a training that a step changes.

    Args:
        networks: By name: those that are trained, and a teacher's.
        works: The phases.
        total: Sum of the losses so far, shape (), on the device of the networks.
        scaler: Of the gradients; None where they are not scaled.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        works: Sequence[Work],
        total: Tensor,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        self._networks = networks
        self._works = works
        self._total = total
        self._scaler = scaler
        self._device = total.device

    def numbers(self) -> dict[str, Any]:
        """Return all that is no tensor, as JSON takes it."""
        scaler = {} if self._scaler is None else self._scaler.state_dict()
        return {"rates": [work.steps_rates for work in self._works], "scaler": scaler}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors, by name: on the CPU they are those that the steps change, not copies."""
        found = {
            f"network.{role}.{name}": tensor
            for role, network in self._networks.items()
            for name, tensor in network.state_dict().items()
        }
        for work in self._works:
            moments = moments_of(work.optimizer)
            found |= {f"moments.{work.name}/{name}": torch.from_numpy(own) for name, own in moments.items()}
        found |= {_TOTAL: self._total, _DRAWN: torch.get_rng_state()}
        if self._device.type == "cuda":
            found[_DRAWN_THERE] = torch.cuda.get_rng_state(self._device)
        return {name: tensor.detach().cpu() for name, tensor in found.items()}

    def take_up(self, found: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Be what `tensors` and `numbers` gave."""
        for role, network in self._networks.items():
            network.load_state_dict(_within(found, f"network.{role}."))
        for work, own in zip(self._works, numbers["rates"], strict=True):
            moments = _within(found, f"moments.{work.name}/")
            take_up(work.optimizer, {name: tensor.numpy() for name, tensor in moments.items()})
            work.steps_rates = list(own)
        if self._scaler is not None:
            self._scaler.load_state_dict(numbers["scaler"])
        self._total.copy_(found[_TOTAL])
        torch.set_rng_state(found[_DRAWN])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(found[_DRAWN_THERE], self._device)


def _within(found: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in found.items() if name.startswith(prefix)}


def _order(tensor: Tensor) -> list[int]:
    """Return the dimensions of a tensor as they lie in memory, the slowest first.

    In that order a network with its channels last is written as it lies there, without a copy.
    """
    strides = tensor.stride()
    return sorted(range(tensor.dim()), key=lambda dimension: -strides[dimension])


def _put_back(tensor: Tensor, order: Sequence[int] | None) -> Tensor:
    """Return a tensor that was written in another order of its dimensions."""
    return tensor if order is None else tensor.permute([order.index(place) for place in range(len(order))])
