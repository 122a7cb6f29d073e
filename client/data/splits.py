"""Which patients train, which choose the best round, and which judge the result.

A patient's side depends on nothing but the patient's id, so it is the same on every machine, and adding
patients moves nobody. It does not depend on the job's seed: a test patient of one job is one of every job.
"""

import hashlib
from collections.abc import Sequence

from client.data.manifest import Record


def assign_splits(records: Sequence[Record], *, validation: float, test: float) -> list[str]:
    """Return 'train', 'val' or 'test' for each record.

    The column `split` decides where the manifest has one, else a hash of the patient's id. Where no
    record is in 'val', that side is cut out of the training patients by another hash.

    Args:
        records: All records of a manifest, also those of other sites.
        validation: Share of the training patients that goes to 'val', 0 to 1.
        test: Share of the patients that goes to 'test' where there is no column, 0 to 1.
    """
    sides = [record.split or _drawn(record, "test", test, "train") for record in records]
    if "val" in sides:
        return sides
    return [
        _drawn(record, "val", validation, "train") if side == "train" else side
        for record, side in zip(records, sides, strict=True)
    ]


def _drawn(record: Record, side: str, share: float, otherwise: str) -> str:
    return side if position(record.patient, side) < share else otherwise


def position(patient: str, purpose: str) -> float:
    """Return a number in [0, 1) from the SHA-256 of a patient's id, another one for each purpose."""
    digest = hashlib.sha256(f"wardround split\x1f{purpose}\x1f{patient}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
