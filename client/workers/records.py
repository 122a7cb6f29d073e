"""The content of Flower's messages as worker processes take it: plain values and tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from shared.wire.flat_array import to_array, view
from shared.wire.packed_model import tensor_of

_RECORDS: dict[str, type[ConfigRecord | MetricRecord]] = {"config": ConfigRecord, "metric": MetricRecord}


def pack(
    content: RecordDict, shared: dict[int, torch.Tensor] | None = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Take a message's content apart: plain values, and tensors that can travel through shared memory.

    Args:
        content: The records.
        shared: Tensors of arrays seen before, by identity: a model sent to all sites is taken apart once.
    """
    shared = {} if shared is None else shared
    records: dict[str, tuple[str, dict[str, Any]]] = {}
    tensors: dict[str, torch.Tensor] = {}
    for key, record in content.items():
        if isinstance(record, ArrayRecord):
            for name, array in record.items():
                if id(array) not in shared:
                    shared[id(array)] = tensor_of(view(array))
                tensors[f"{key}/{name}"] = shared[id(array)]
        else:
            kind = "config" if isinstance(record, ConfigRecord) else "metric"
            records[key] = (kind, dict(record))
    return {"records": records}, tensors


def unpack(payload: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> RecordDict:
    """Put a message's content together again."""
    content = RecordDict()
    for key, (kind, values) in payload["records"].items():
        content[key] = _RECORDS[kind](values)
    for path, tensor in tensors.items():
        key, name = path.split("/")
        content.setdefault(key, ArrayRecord())
        content[key][name] = to_array(tensor.numpy())
    return content
