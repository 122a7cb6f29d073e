"""The message that carries a site's part of the statistics of a job."""

from typing import cast

import numpy as np
from flwr.app import ArrayRecord, RecordDict
from numpy.typing import NDArray

from shared.wire.flat_array import to_array, view
from shared.wire.messages import STATISTICS, MessageError


def statistics_reply(packed: NDArray[np.float64]) -> RecordDict:
    """Return a site's part of the statistics of a job, packed (n,)."""
    return RecordDict({STATISTICS: ArrayRecord({STATISTICS: to_array(packed)})})


def read_statistics(content: RecordDict) -> NDArray[np.float64]:
    """Parse a site's part of the statistics; what it says is checked when it is unpacked.

    Raises:
        MessageError: It is not an array of float64.
    """
    record = content.get(STATISTICS)
    if not isinstance(record, ArrayRecord) or list(record.keys()) != [STATISTICS]:
        raise MessageError("carries no statistics")
    try:
        values = view(record[STATISTICS])
    except ValueError as error:
        raise MessageError(f"carries an array that {error}") from None
    if values.dtype != np.float64:
        raise MessageError(f"carries {values.dtype} where float64 belongs")
    return cast(NDArray[np.float64], values)
