"""Exactly how large a job's model is, without memory for it: built on PyTorch's meta device."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from shared.errors import JobError
from shared.job.rules import about_model_megabytes
from shared.job.schema import JobSpec, parse_job
from shared.job_parts import network_names
from shared.limits import LARGEST_MODEL_MB
from shared.networks import NETWORKS
from shared.networks.build import build_model
from shared.strategies.wire import Wire
from shared.wire.packed_model import Entry, Layout

_SURELY = 3  # times what is estimated is surely more than there is


def model_bytes(job: JobSpec) -> int:
    """Return the bytes of a job's model as it travels, with what its strategy sends beside it."""
    return _bytes(job.canonical())


def is_larger(job: JobSpec, megabytes: float) -> bool:
    """Say whether a job's model has more MB (10^6 bytes).

    Most are so far from it that none need be built; what a package says of its own network is not believed.
    """
    if any(name in NETWORKS.package for name in network_names(job)):
        return model_bytes(job) > megabytes * 1e6
    return _about_bytes(job) * _SURELY > megabytes * 1e6 and model_bytes(job) > megabytes * 1e6


def check_model_size(job: JobSpec) -> None:
    """Check that a job's model is not above the largest that any job may have.

    Raises:
        JobError: It is.
    """
    if is_larger(job, LARGEST_MODEL_MB):
        raise JobError(
            f"the model has {model_bytes(job) / 1e6:.0f} MB, and {LARGEST_MODEL_MB:.0f} MB is the most",
            where="[model]",
            remedy="Take fewer features or levels.",
        )


def _about_bytes(job: JobSpec) -> float:
    numbers = math.ceil(about_model_megabytes(job) * 1e6 / 4)
    layout = Layout((Entry("", (numbers,)),), numbers)
    return 4.0 * (numbers + sum(job.strategy.sends(layout).values()))


@lru_cache(maxsize=16)
def _bytes(canonical: str) -> int:
    job = parse_job(json.loads(canonical), "the job")
    with torch.device("meta"), _Unfilled():
        network = build_model(job, started=False)
        return Wire.of(network, job.strategy).layout.size * 4


class _Unfilled(TorchFunctionMode):
    """Fills no tensor that has no memory: PyTorch would load seconds of code to do nothing.

    Swin transformers read the numbers of a short `linspace` while they are built: it gets its memory.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch, or do without."""
        given = dict(kwargs or {})
        if func is torch.linspace:
            given.setdefault("device", "cpu")
        if func in _FILLING and args[0].is_meta:
            return args[0]
        return func(*args, **given)


_FILLING = {
    getattr(torch.Tensor, name)
    for name in ("normal_", "uniform_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_", "copy_")
}
