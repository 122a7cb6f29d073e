"""The model with which a job begins: a site builds it itself, and believes no other."""

import hashlib

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

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
    CONFIG,
    EDGES,
    STATISTICS,
    VECTOR,
    MessageError,
    numbers_in,
    read_vector,
)
from shared.wire.packed_model import Layout

# Processors differ in the last bits of a normal distribution's numbers; no image fits into these.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-6


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
    numbers = numbers_in(content.config_records.get(CONFIG, ConfigRecord()), STATISTICS)
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
    layout = Layout.of(network)
    wire = Wire.of(network, job.strategy)
    first = wire.first(layout.pack(network))
    vector = read_vector(_record(content), first.size)
    drawn = np.ones(first.size, bool)
    kept = {name: own for name, own in network.state_dict().items() if name in fixed_names(network)}
    tensors = {**kept, **wire.layout.state_dict(vector)}
    drawn[wire.layout.places(_require_start(job, tensors, site))] = False
    if not np.allclose(vector[drawn], first[drawn], rtol=_RELATIVE, atol=_ABSOLUTE):
        problem = "job.model: the first model is not the one that the job's seed gives"
        raise PolicyError(
            problem, where=site, remedy="Coordinator and site must run the same version of Wardround."
        )


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
