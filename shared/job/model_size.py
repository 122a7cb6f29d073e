"""Exactly how large a job's model is, without memory for it: built on PyTorch's meta device."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from shared.errors import JobError
from shared.job.rules import about_model_megabytes
from shared.job.schema import JobSpec, parse_job
from shared.job_parts import network_names, networks_of
from shared.limits import LARGEST_MODEL_MB
from shared.networks import NETWORKS
from shared.networks.build import build_model, fixed_names, models_of, started_tensors
from shared.strategies.wire import Wire
from shared.wire.packed_model import Entry, Layout

_SURELY = 3  # times what is estimated is surely more than there is


@dataclass(frozen=True)
class ModelSize:
    """What of a job's model travels, in bytes.

    Attributes:
        each: With every model, what its strategy sends beside it included.
        once: Of the files of weights that a site gets once and keeps, as something of them never changes: by
            the SHA-256 that the job has of them.
    """

    each: int
    once: Mapping[str, int]

    @property
    def all(self) -> int:
        """Both together."""
        return self.each + sum(self.once.values())


def model_size(job: JobSpec) -> ModelSize:
    """Return what of a job's model travels."""
    return _size(job.canonical())


def is_larger(job: JobSpec, megabytes: float) -> bool:
    """Say whether a job's model, with what travels of it once, has more MB (10^6 bytes).

    Most are so far from it that none need be built; what a package says of its own network is not believed.
    """
    if any(name in NETWORKS.package for name in network_names(job)):
        return model_size(job).all > megabytes * 1e6
    return _about_bytes(job) * _SURELY > megabytes * 1e6 and model_size(job).all > megabytes * 1e6


def check_model_size(job: JobSpec) -> None:
    """Check that a job's model is not above the largest that any job may have.

    Raises:
        JobError: It is.
    """
    if is_larger(job, LARGEST_MODEL_MB):
        raise JobError(
            f"the model has {model_size(job).all / 1e6:.0f} MB, and {LARGEST_MODEL_MB:.0f} MB is the most",
            where="[model]",
            remedy="Take fewer features or levels.",
        )


def _about_bytes(job: JobSpec) -> float:
    numbers = math.ceil(about_model_megabytes(job) * 1e6 / 4)
    layout = Layout((Entry("", (numbers,)),), numbers)
    return 4.0 * (numbers + sum(job.strategy.sends(layout).values()))


@lru_cache(maxsize=16)
def _size(canonical: str) -> ModelSize:
    job = parse_job(json.loads(canonical), "the job")
    with torch.device("meta"), _Unfilled():
        model = build_model(job, started=False)
        once = {}
        for network in networks_of(job):
            digest = network.options.start_sha256
            if digest is not None and any(name.startswith(network.prefix) for name in fixed_names(model)):
                own = models_of(model)[network.role]
                once[digest] = 4 * sum(started_tensors(own, network).values())
        return ModelSize(4 * Wire.of(model, job.strategy).layout.size, once)


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
