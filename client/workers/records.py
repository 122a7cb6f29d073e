"""The content of Flower's messages as worker processes take it: plain values and arrays."""

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from shared.wire.flat_array import to_array, view

_RECORDS: dict[str, type[ConfigRecord | MetricRecord]] = {"config": ConfigRecord, "metric": MetricRecord}


def pack(
    content: RecordDict, shared: dict[int, NDArray[Any]] | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Take a message's content apart: plain values, and arrays that can travel through shared memory.

    Args:
        content: The records.
        shared: Values of arrays seen before, by identity: a model sent to all sites is taken apart once.
    """
    shared = {} if shared is None else shared
    records: dict[str, tuple[str, dict[str, Any]]] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for key, record in content.items():
        if isinstance(record, ArrayRecord):
            for name, array in record.items():
                if id(array) not in shared:
                    shared[id(array)] = view(array)
                arrays[f"{key}/{name}"] = shared[id(array)]
        else:
            kind = "config" if isinstance(record, ConfigRecord) else "metric"
            records[key] = (kind, dict(record))
    return {"records": records}, arrays


def unpack(payload: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RecordDict:
    """Put a message's content together again."""
    content = RecordDict()
    for key, (kind, values) in payload["records"].items():
        content[key] = _RECORDS[kind](values)
    for path, array in arrays.items():
        key, name = path.split("/")
        content.setdefault(key, ArrayRecord())
        content[key][name] = to_array(array)
    return content
