"""What a computation takes from the coordinator, as one digest that every site signs before it computes.

A coordinator that sends one site the model, and the others one whose gradients vanish, could read that
site's update out of the sum (Pasquini et al., "Eluding Secure Aggregation in Federated Learning via Model
Inconsistency", CCS 2022).
"""

import hashlib
from dataclasses import fields

import numpy as np

from shared.privacy.secagg.wire import pack
from shared.wire.messages import Question, Request

_KIND = b"wardround secagg v2: context"


def context_of(phase: str, request: Request | Question) -> bytes:
    """Return the SHA-256 of all that a request holds; a field that is added to it is in it by itself.

    Args:
        phase: One of `shared.privacy.secagg.records.PHASES`.
        request: What the site is asked.
    """
    parts = [_KIND, phase.encode()]
    for field in fields(request):
        parts += [field.name.encode(), _bytes(getattr(request, field.name))]
    return hashlib.sha256(pack(*parts)).digest()


def _bytes(value: object) -> bytes:
    """Return a value as bytes, another value as others; an array by its digest."""
    if not isinstance(value, np.ndarray):
        return repr(value).encode()
    digest = hashlib.sha256(np.ascontiguousarray(value).data).digest()
    return pack(str(value.dtype).encode(), repr(value.shape).encode(), digest)
