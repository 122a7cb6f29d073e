"""Files of weights that a job starts from, as they go to a site beside a model: each site keeps them."""

from collections.abc import Collection, Mapping

import numpy as np
from flwr.app import ArrayRecord, RecordDict

from shared.wire.flat_array import array_records, to_array, view
from shared.wire.messages import MessageError

STARTS = "starts"
"""Name of the record; in it each file stands under its SHA-256 in the job."""


def starts_record(files: Mapping[str, bytes]) -> ArrayRecord:
    """Return the record of some files."""
    arrays = {digest: to_array(np.frombuffer(content, np.uint8)) for digest, content in files.items()}
    return ArrayRecord(arrays)


def starts_in(content: RecordDict) -> dict[str, bytes]:
    """Return the files that a message brings; nobody has looked into them.

    Raises:
        MessageError: They are not rows of bytes.
    """
    found = {}
    for name, array in array_records(content).get(STARTS, {}).items():
        try:
            values = view(array)
        except ValueError as error:
            raise MessageError(f"brings weights in an array that {error}") from None
        if values.dtype != np.uint8 or values.ndim != 1:
            raise MessageError("brings weights that are not a row of bytes")
        found[name] = values.tobytes()
    return found


def without_starts(content: RecordDict, digests: Collection[str]) -> RecordDict:
    """Return a content without those files that are at a site already."""
    files = array_records(content).get(STARTS, {})
    left = {name: array for name, array in files.items() if name not in digests}
    others = {key: record for key, record in content.items() if key != STARTS}
    return RecordDict({**others, **({STARTS: ArrayRecord(left)} if left else {})})
