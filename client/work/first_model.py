"""The model with which a job begins: a site builds it itself, and believes no other."""

import hashlib

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from client.guard.served_requests import Carried
from client.settings.policy import PolicyError
from shared.job.schema import JobSpec
from shared.networks.build import build_model
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


def check_first(job: JobSpec, content: RecordDict, site: str) -> None:
    """Check that a message carries the model that the job's seed gives.

    It is built once more for it, which takes as long as to load a network.

    Raises:
        MessageError: It carries no vector of the model's length.
        PolicyError: It carries another model.
    """
    first = _first(job)
    vector = read_vector(_record(content), first.size)
    if not np.allclose(vector, first, rtol=_RELATIVE, atol=_ABSOLUTE):
        problem = "job.model: round 1 does not begin with the model that the job's seed gives"
        raise PolicyError(
            problem, where=site, remedy="Coordinator and site must run the same version of Wardround."
        )


def _record(content: RecordDict) -> ArrayRecord:
    record = content.get(ARRAYS)
    if not isinstance(record, ArrayRecord):
        raise MessageError("carries no model")
    return record


def _first(job: JobSpec) -> NDArray[np.float32]:
    network = build_model(job)
    return Wire.of(network, job.strategy).first(Layout.of(network).pack(network))
