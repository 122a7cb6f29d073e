"""What an optimiser remembers of its steps, as named vectors that a site can keep between rounds."""

import numpy as np
import torch
from torch import Tensor

from shared.strategies.vectors import Vectors
from shared.wire.packed_model import tensor_of


def moments_of(optimizer: torch.optim.Optimizer) -> Vectors:
    """Return the state of each tensor of an optimiser, by PyTorch's names: moments, the number of steps.

    The names begin with the number of the tensor: `0.exp_avg`. On the CPU they are the optimiser's own, which
    its next step changes.
    """
    return {
        f"{number}.{name}": np.atleast_1d(value.detach().cpu().numpy())
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def take_up(optimizer: torch.optim.Optimizer, moments: Vectors) -> None:
    """Let an optimiser go on from what `moments_of` gave."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, vector in moments.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        shape = parameter.shape if vector.size == parameter.numel() else ()
        states.setdefault(int(number), {})[key] = tensor_of(vector).reshape(shape).clone()
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
