"""The networks of a job, built, and given the norm that the job names.

Every network is built with batch norm, which all of MONAI's classes can do, and then given the norm of the
job: some classes fix theirs (`AttentionUnet`, `VNet`, the blocks of `ResNet`), and the groups of a group norm
must fit each layer's features.
"""

import gc
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn

from shared.job_parts import JobNetwork, networks_of
from shared.networks.adapter_names import names_without_adapters
from shared.networks.frozen_parts import freeze_all_but, freeze_by_rate, freeze_norms, frozen_tensors
from shared.networks.lora import adapt, adapters_of
from shared.networks.random_state import drawn_from
from shared.networks.start_weights import Tensors, given_by_start, put_into
from shared.seeds import seed_of
from shared.wire.packed_model import Layout

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

Files = Mapping[str | None, Tensors]

GROUPS = 8
_log = logging.getLogger(__name__)


class Networks(nn.ModuleDict):
    """Several networks as one module, by their role in the task: one layout, one vector."""


def build_model(
    job: "JobSpec",
    seed: int | None = None,
    *,
    started: bool = True,
    files: Files | None = None,
    adapted: bool = True,
) -> nn.Module:
    """Return the job's network, or its `Networks`, on the CPU, in float32, in training mode.

    Under a private job nothing in it mixes images: what would is replaced, at the coordinator as at the
    sites, and the log says so.

    Weights are drawn: the same seed gives the same bits in every process; no global random state changes.

    Args:
        job: Names the networks, their options and the images' shape.
        seed: Of the weights; the job's own where it is None.
        started: Whether packaged weights that the job starts from are read; False where all of the network's
            numbers are replaced anyhow, or none is looked at.
        files: Tensors of the files that the job starts from, by their `start_sha256`. Without them, as at a
            hospital, what a file gives is drawn like the rest.
        adapted: Whether layers have the adapters that the job asks for; a trained model is saved without.

    Returns:
        A module from images (B, C, *S) to what the task needs: (B, K), or (B, K, *S) for a map.
        Its `divisor` is what must divide the sizes S. `fixed` names the tensors that do not travel with every
        model: they come from a package or a file and stay as they are. Only the job's `[update] parts` of it
        can be trained.
        Each of several networks is drawn from a seed of its own, so that it does not depend on the others.

    Raises:
        JobError: There is no part of a name in `[update] parts` or `[training] rates`, or a file is not the
            one of the job.
        SiteError: The package with the weights that it starts from is missing.
    """
    first = job.job.seed if seed is None else seed
    given, networks = _Given(started, files or {}, adapted), networks_of(job)
    if len(networks) == 1:
        model = _build(job, networks[0], first, given)
    else:
        seeds = {own.role: seed_of(first, "network", own.role) for own in networks}
        model = Networks({own.role: _build(job, own, seeds[own.role], given) for own in networks})
    if job.update.parts is not None:
        freeze_all_but(model, job.update.parts, beside=adapters_of(model))
    if job.training.rates:
        freeze_by_rate(model, job.training.rates)
    model.fixed = frozenset(_fixed(networks, models_of(model)))  # type: ignore[assignment]
    return model


@dataclass(frozen=True)
class _Given:
    """What `build_model` is asked to put into networks."""

    started: bool
    files: Files
    adapted: bool


def _build(job: "JobSpec", network: JobNetwork, seed: int, given: _Given) -> nn.Module:
    """Return one network with the norm of the job; all parameters but those of frozen norms are trainable."""
    options = network.options
    with drawn_from(seed, torch.device("cpu")), _nothing_left_behind():
        model = options.build(network.ends)
    norm = getattr(network.options, "norm", "batch" if network.ends.dimensions else "none")
    private = job.privacy.mechanism != "none"
    if private and norm == "batch":
        norm = "group"
        _log.info(
            "%s: batch norm is a figure of the patients without noise; a private job has group norm instead",
            job.job.name,
        )
    if norm == "frozen":
        freeze_norms(model)
    elif norm not in ("batch", "none"):
        _replace_batch_norm(model, norm, network.ends.dimensions)
    if given.started and (packaged := options.packaged.get(options.start or "")) is not None:
        options.start_from(model, packaged.read())
    if options.start_sha256 in given.files:
        put_into(model, options, given.files[options.start_sha256])
    if job.privacy.mechanism == "dp-sgd" and (changed := _work_out_of_place(model)):
        _log.info("%s: %d activations work out of place, for private training", job.job.name, changed)
    if given.adapted and options.lora is not None:
        with drawn_from(seed_of(seed, "lora"), torch.device("cpu")):
            adapt(model, options.lora, _parts_within(job, network))
    model.divisor = network.options.divisor  # type: ignore[assignment]  # tasks pad images to it
    return model


@contextmanager
def _nothing_left_behind() -> Iterator[None]:
    """Let what a network's constructor leaves behind go at once.

    That of MONAI's U-Net has a function that calls itself, and so refers to itself and to the network: the
    network would keep its memory after it was let go, until Python looks for such circles among old objects.
    """
    looks = gc.isenabled()
    gc.disable()  # what is made meanwhile stays the youngest, so that looking through it is cheap
    try:
        yield
    finally:
        gc.collect(0)
        if looks:
            gc.enable()


def _fixed(networks: Iterable[JobNetwork], models: Mapping[str, nn.Module]) -> Iterator[str]:
    for network in networks:
        options, model = network.options, models[network.role]
        if options.start in options.packaged:
            encoder = model.get_submodule("encoder")
            yield from (f"{network.prefix}encoder.{name}" for name in frozen_tensors(encoder))
        elif options.start_sha256 is not None:
            given = started_tensors(model, network)
            yield from (network.prefix + name for name in frozen_tensors(model) if name in given)


def started_tensors(model: nn.Module, network: JobNetwork) -> dict[str, int]:
    """Return what the file of a network's start gives: numbers of each tensor, by its name with adapters."""
    sizes = {entry.name: entry.size for entry in Layout.of(model).entries}
    given = given_by_start(network.options, names_without_adapters(sizes))
    return {name: sizes[name] for name in given.values()}


def fixed_names(model: nn.Module) -> frozenset[str]:
    """Return the names of what does not travel with every model, see `build_model`."""
    return cast("frozenset[str]", getattr(model, "fixed", frozenset()))


def fixed_tensors(job: "JobSpec", files: Files) -> dict[str, Tensor]:
    """Return by name what of a job's model does not travel with it, as a package or a file brings it along.

    Args:
        job: Whose model it is.
        files: As for `build_model`.
    """
    if all(network.options.start is None for network in networks_of(job)):
        return {}
    model = build_model(job, files=files)
    names = fixed_names(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def _parts_within(job: "JobSpec", network: JobNetwork) -> list[str]:
    """Return those of a job's `[update] parts` that lie in one of its networks, by their names there."""
    parts = job.update.parts or []
    return [part.removeprefix(network.prefix) for part in parts if part.startswith(network.prefix)]


def models_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the networks of what `build_model` gave, by their role in the task; `model` for a single one."""
    return dict(model.items()) if isinstance(model, Networks) else {"model": model}


def _replace_batch_norm(model: nn.Module, norm: str, dimensions: int) -> None:
    batch_norm = Norm[Norm.BATCH, dimensions]
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, batch_norm):
                features = child.num_features
                if norm == "instance":
                    new = Norm[Norm.INSTANCE, dimensions](features, affine=True)
                else:
                    new = nn.GroupNorm(math.gcd(GROUPS, features), features)
                setattr(parent, name, new)


def _work_out_of_place(model: nn.Module) -> int:
    """Let activations keep their input, which Opacus' hooks look at; returns how many were changed."""
    in_place = [module for module in model.modules() if getattr(module, "inplace", False)]
    for module in in_place:
        module.inplace = False  # type: ignore[assignment]
    return len(in_place)
