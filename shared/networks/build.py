"""The networks of a job, built, and given the norm that the job names.

Every network is built with batch norm, which all of MONAI's classes can do, and then given the norm of the
job: some classes fix theirs (`AttentionUnet`, `VNet`, the blocks of `ResNet`), and the groups of a group norm
must fit each layer's features.
"""

import logging
import math
from typing import TYPE_CHECKING

import torch
from monai.networks.layers.factories import Norm
from torch import nn

from shared.job_parts import JobNetwork, networks_of
from shared.networks.frozen_parts import freeze_all_but
from shared.networks.random_state import drawn_from
from shared.seeds import seed_of

if TYPE_CHECKING:
    from shared.job.schema import JobSpec

GROUPS = 8
_log = logging.getLogger(__name__)


class Networks(nn.ModuleDict):
    """Several networks as one module, by their role in the task: one layout, one vector."""


def build_model(job: "JobSpec", seed: int | None = None) -> nn.Module:
    """Return the job's network, or its `Networks`, on the CPU, in float32, in training mode.

    Under a private job nothing in it mixes images: what would is replaced, at the coordinator as at the
    sites, and the log says so.

    Weights are drawn: the same seed gives the same bits in every process; no global random state changes.

    Args:
        job: Names the networks, their options and the images' shape.
        seed: Of the weights; the job's own where it is None.

    Returns:
        A module from images (B, C, *S) to what the task needs: (B, K), or (B, K, *S) for a map.
        Its `divisor` is what must divide the sizes S. Only the job's `[update] parts` of it can be trained.
        Each of several networks is drawn from a seed of its own, so that it does not depend on the others.

    Raises:
        JobError: There is no part of a name in `[update] parts`.
    """
    first = job.job.seed if seed is None else seed
    networks = networks_of(job)
    if len(networks) == 1:
        model = _build(job, networks[0], first)
    else:
        model = Networks(
            {own.role: _build(job, own, seed_of(first, "network", own.role)) for own in networks}
        )
    if job.update.parts is not None:
        freeze_all_but(model, job.update.parts)
    return model


def _build(job: "JobSpec", network: JobNetwork, seed: int) -> nn.Module:
    """Return one network, with the norm of the job and all parameters trainable."""
    with drawn_from(seed, torch.device("cpu")):
        model = network.options.build(network.ends)
    norm = getattr(network.options, "norm", "batch" if network.ends.dimensions else "none")
    private = job.privacy.mechanism != "none"
    if private and norm == "batch":
        norm = "group"
        _log.info(
            "%s: batch norm is a figure of the patients without noise; a private job has group norm instead",
            job.job.name,
        )
    if norm not in ("batch", "none"):
        _replace_batch_norm(model, norm, network.ends.dimensions)
    if job.privacy.mechanism == "dp-sgd" and (changed := _work_out_of_place(model)):
        _log.info("%s: %d activations work out of place, for private training", job.job.name, changed)
    model.divisor = network.options.divisor  # type: ignore[assignment]  # tasks pad images to it
    return model


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
