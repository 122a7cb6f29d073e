"""What leaves a site, as its audit log and its passport have it: how much, and the SHA-256."""

import hashlib
from dataclasses import dataclass

from flwr.app import ArrayRecord, RecordDict

from shared.wire.flat_array import array_records, view
from shared.wire.messages import ARRAYS, CONFIG, METRICS, array_bytes

SUM_HASH = "sum-hash"
"""Array with the hash of what a site adds to a sum, beside what it masks."""


@dataclass(frozen=True)
class Sent:
    """What is about to leave a site, for its audit log."""

    bytes: int  # of the arrays
    sha256: str | None  # of the arrays' bytes, see `digest_of`; None where there are none
    examples: int | None  # None where the reply names none, as behind masks


def measure(content: RecordDict) -> Sent:
    """Measure a reply that is about to leave: its arrays, and the number of examples that it stands for."""
    arrays = [
        view(array)
        for record in array_records(content).values()
        for name, array in record.items()
        if name != SUM_HASH
    ]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.data)
    counts = content.get(METRICS, {})
    config = content.get(CONFIG, {})
    described = [value for key, value in config.items() if key.startswith("examples-")]
    return Sent(
        bytes=array_bytes(content),
        sha256=digest_of(digest.digest(), sum_hash_in(content)) if arrays else None,
        examples=counts.get("num-examples", sum(described) if described else None),
    )


def digest_of(arrays: bytes, sum_hash: bytes) -> str:
    """Return the SHA-256 that a site signs for what it sends.

    Args:
        arrays: SHA-256 of the arrays' bytes.
        sum_hash: Of what is masked in them; the digest is then of both, and can be checked without the
            arrays. Empty where there is none.
    """
    return hashlib.sha256(arrays + sum_hash).hexdigest() if sum_hash else arrays.hex()


def sum_hash_in(content: RecordDict) -> bytes:
    """Return the hash beside masked numbers; empty where there is none."""
    arrays = content.get(ARRAYS)
    has_one = isinstance(arrays, ArrayRecord) and SUM_HASH in arrays
    return view(arrays[SUM_HASH]).tobytes() if has_one else b""
