"""Seeds for every random decision, derived from what the decision is about.

The same job, round, site and sample give the same number on any machine, in any order, in any process.
"""

import hashlib


def seed_of(*parts: str | int) -> int:
    """Return a 63-bit seed from the SHA-256 of the parts."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
