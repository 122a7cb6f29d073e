"""Weights in PyTorch's own file format, which is a pickle: here alone, and read as nothing but tensors.

Such files come with an installed package, or lie at the researcher's; what a coordinator or a site gets of
them is safetensors.
"""

import io

import torch
from torch import Tensor

from shared.errors import JobError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network_weights")


def read_torch_weights(content: bytes, where: object) -> dict[str, Tensor]:
    """Return the tensors of a file by name; of a checkpoint with more in it, those of its model.

    Raises:
        JobError: It is not such a file, holds what is not a tensor, or would run code.
    """
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file makes of the reader
        first = str(error).partition("\n")[0]
        raise JobError(f"can't be read as weights ({type(error).__name__}: {first})", where=where) from None
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    named = found if isinstance(found, dict) else {}
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise JobError("holds no tensors by name", where=where)
    return tensors
