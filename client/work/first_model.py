"""The model with which a job begins: a site builds it itself, and believes no other."""

import hashlib
from collections.abc import Collection

import numpy as np
import torch
from flwr.app import ArrayRecord, RecordDict
from numpy.typing import NDArray
from torch import Tensor, nn

from client.guard.served_requests import Carried
from client.settings.policy import PolicyError
from shared.job.schema import JobSpec
from shared.job_parts import networks_of
from shared.networks.adapter_names import names_without_adapters
from shared.networks.build import Files, build_model, fixed_names
from shared.networks.start_weights import Tensors, digest_of, given_by_start
from shared.strategies.wire import Wire
from shared.wire.flat_array import view
from shared.wire.messages import (
    ARRAYS,
    EDGES,
    STATISTICS,
    VECTOR,
    MessageError,
    config_in,
    numbers_in,
    read_vector,
)
from shared.wire.packed_model import Layout

# Processors differ in the last bits of a normal distribution's numbers; no image fits into these.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-6
_PIECE = 1 << 16  # numbers compared at a time


def carried_by(content: RecordDict) -> Carried:
    """Return what a message carries beside its head.

    Raises:
        MessageError: It carries no model.
    """
    record = _record(content)
    try:
        model = hashlib.sha256(view(record[VECTOR]).data).hexdigest()
        edges = hashlib.sha256(view(record[EDGES]).data).hexdigest() if EDGES in record else ""
    except (KeyError, ValueError):
        raise MessageError("carries no model") from None
    numbers = numbers_in(config_in(content), STATISTICS)
    statistics = hashlib.sha256(np.array(numbers, "<f8").tobytes()).hexdigest() if numbers else ""
    return Carried(model, edges, statistics)


def check_first(job: JobSpec, content: RecordDict, site: str, files: Files) -> None:
    """Check that a message carries the model that the job's seed gives, and where it names one its start.

    It is built once more for it, which takes as long as to load a network. What comes of a file of weights is
    known by the digest that the job has of it.

    Args:
        job: Whose first model it is.
        content: Of the message.
        site: Its name, for errors.
        files: Of weights that the site keeps, see `client.work.start_store`.

    Raises:
        MessageError: It carries no vector of the model's length.
        PolicyError: It carries another model.
    """
    network = build_model(job, files=files)
    layout = Wire.of(network, job.strategy).layout
    vector = read_vector(_record(content), layout.size)
    kept = {name: own for name, own in network.state_dict().items() if name in fixed_names(network)}
    started = _require_start(job, {**kept, **layout.state_dict(vector)}, site)
    if not _is_drawn(vector, network, layout, started):
        problem = "job.model: the first model is not the one that the job's seed gives"
        raise PolicyError(
            problem, where=site, remedy="Coordinator and site must run the same version of Wardround."
        )


def _is_drawn(
    vector: NDArray[np.float32], network: nn.Module, layout: Layout, started: Collection[str]
) -> bool:
    """Say whether a vector holds a network's numbers, and zeros beside them; looked at piece by piece.

    Args:
        vector: Shape (layout.size,).
        network: As the job's seed draws it.
        layout: Of what travels.
        started: Tensors that are not looked at.
    """
    own: dict[str, Tensor] = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for entry, values in zip(layout.entries, layout.parts(layout.checked(vector)), strict=True):
        if entry.name in started:
            continue
        expected = torch.zeros(()).expand(entry.shape) if entry.is_beside else own[entry.name].detach()
        pieces = zip(values.reshape(-1).split(_PIECE), expected.reshape(-1).split(_PIECE), strict=True)
        if not all(np.allclose(one.numpy(), other.numpy(), _RELATIVE, _ABSOLUTE) for one, other in pieces):
            return False
    return True


def _require_start(job: JobSpec, tensors: Tensors, site: str) -> set[str]:
    """Return the names of the tensors that files of weights give, once they were found to be the job's."""
    found = set()
    for network in networks_of(job):
        if network.options.start_sha256 is None:
            continue
        prefix = network.prefix
        own = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
        names = names_without_adapters(own)
        given = given_by_start(network.options, {name: tensors[own[names[name]]] for name in names})
        if digest_of(given) != network.options.start_sha256:
            problem = f"job.model: the first model has not the weights of [{network.table}] start_sha256"
            raise PolicyError(
                problem, where=site, remedy="Ask the coordinator which file it has under that name."
            )
        found |= {own[names[name]] for name in given}
    return found


def _record(content: RecordDict) -> ArrayRecord:
    record = content.get(ARRAYS)
    if not isinstance(record, ArrayRecord):
        raise MessageError("carries no model")
    return record
