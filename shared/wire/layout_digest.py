"""The digest of a packed model's layout, for those too who have no PyTorch at hand."""

import hashlib
import json
from collections.abc import Iterable, Sequence


def layout_digest(parameters: int, tensors: Iterable[tuple[str, Sequence[int]]]) -> str:
    """Return the SHA-256 of names, shapes and order, in hexadecimal.

    Args:
        parameters: How many numbers of the vector are trainable parameters.
        tensors: Name and shape of each, in their order.
    """
    content = [parameters, [[name, list(shape)] for name, shape in tensors]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
