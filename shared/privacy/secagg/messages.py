"""The stages of secure aggregation as Flower carries them: what asks for each, and what is answered."""

from typing import cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from shared.privacy.secagg import sum_hash as hashes
from shared.privacy.secagg.fixed_point import EXTRAS
from shared.wire.flat_array import to_array, view
from shared.wire.messages import ARRAYS, CONFIG, METRICS, VECTOR, MessageError
from shared.wire.sent import SUM_HASH

# The stages, in their order; the site's work stands between the third and the fourth.
KEYS, SHARES, INBOX, AGREE, REVEAL = (
    "secagg_keys",
    "secagg_shares",
    "secagg_inbox",
    "secagg_agree",
    "secagg_reveal",
)
OPENED = b"opened"  # answer to an inbox

_SECAGG = "secagg"
_BODY = "body"
_LONGEST = 16 * 2**20  # bytes of a body: a roster of a thousand sites has about 1 MB


def stage_request(
    job: str, round_: int, body: bytes, split: str = "", *, researcher: str = "", project: str = ""
) -> RecordDict:
    """Return what asks a site for a stage; an array, as all that the audit log counts.

    Args:
        job: Canonical JSON: every message is checked against the site's policy.
        round_: From 1.
        body: The stage's message.
        split: The split that is evaluated; empty in training.
        researcher: Who submitted the job; a site's policy may ask for the name.
        project: Of the run, likewise.
    """
    content = stage_reply(body)
    head = {"job": job, "round": round_, "split": split, "researcher": researcher, "project": project}
    content[CONFIG] = ConfigRecord(head)
    return content


def stage_reply(body: bytes) -> RecordDict:
    """Return a stage's message as content of a reply."""
    return RecordDict({_SECAGG: ArrayRecord({_BODY: to_array(np.frombuffer(body, np.uint8))})})


def read_stage(content: RecordDict) -> bytes:
    """Return a stage's message, not parsed.

    Raises:
        MessageError: There is none.
    """
    record = content.get(_SECAGG)
    if not isinstance(record, ArrayRecord) or list(record.keys()) != [_BODY]:
        raise MessageError("carries no message of the secure aggregation")
    values = _values(record, _BODY, np.uint8)
    if values.ndim != 1 or values.size > _LONGEST:
        raise MessageError("carries a message of the secure aggregation that is too long")
    return values.tobytes()


def masked_reply(masked: NDArray[np.uint64], seconds: float, sum_hash: bytes = b"") -> RecordDict:
    """Return a site's answer after its work: of it nothing leaves but masked numbers and the time.

    Args:
        masked: The numbers.
        seconds: That the site took.
        sum_hash: Of the numbers before they were masked, where the job asks for it.
    """
    # Signed, as PyTorch, through which it passes, has few operations on unsigned numbers.
    arrays = ArrayRecord({VECTOR: to_array(masked.view(np.int64))})
    if sum_hash:
        arrays[SUM_HASH] = to_array(np.frombuffer(sum_hash, np.uint8))
    return RecordDict({ARRAYS: arrays, METRICS: MetricRecord({"seconds": seconds})})


def read_masked(content: RecordDict, size: int, extras: int = EXTRAS) -> tuple[NDArray[np.uint64], float]:
    """Return masked numbers, shape (size + extras,), and the seconds that the site took.

    Raises:
        MessageError: Something is missing or has another type or shape.
    """
    arrays, metrics = content.get(ARRAYS), content.get(METRICS)
    if not isinstance(arrays, ArrayRecord) or VECTOR not in arrays or not isinstance(metrics, MetricRecord):
        raise MessageError("carries no masked numbers")
    values = _values(arrays, VECTOR, np.int64)
    if values.shape != (size + extras,):
        raise MessageError(f"carries masked numbers of shape {values.shape} instead of ({size + extras},)")
    seconds = metrics.get("seconds")
    if not isinstance(seconds, float) or not np.isfinite(seconds):
        raise MessageError("'seconds' must be a finite number")
    return cast(NDArray[np.uint64], values.view(np.uint64)), seconds


def read_sum_hash(content: RecordDict) -> bytes:
    """Return the hash that goes with masked numbers.

    Raises:
        MessageError: There is none, or it is none.
    """
    arrays = content.get(ARRAYS)
    if not isinstance(arrays, ArrayRecord) or SUM_HASH not in arrays:
        raise MessageError("carries no hash of what it adds to the sum")
    found = _values(arrays, SUM_HASH, np.uint8).tobytes()
    if len(found) != hashes.BYTES:
        raise MessageError(f"carries a hash of {len(found)} bytes instead of {hashes.BYTES}")
    return found


def _values(record: ArrayRecord, key: str, kind: type[np.integer]) -> NDArray[np.integer]:
    try:
        values = view(record[key])
    except ValueError as error:
        raise MessageError(f"carries an array that {error}") from None
    if values.dtype != kind:
        raise MessageError(f"carries {values.dtype} where {np.dtype(kind)} belongs")
    return values
