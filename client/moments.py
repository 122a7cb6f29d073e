"""What an optimiser remembers of its steps, as named vectors that a site can keep between rounds."""

import numpy as np
import torch

from shared.arrays import tensor_of
from shared.strategies.vectors import Vectors


def moments_of(optimizer: torch.optim.Optimizer) -> Vectors:
    """Return the state of an optimiser of one tensor, by PyTorch's names: moments, the number of steps."""
    [state] = optimizer.state_dict()["state"].values()
    return {name: np.atleast_1d(value.detach().cpu().numpy()).copy() for name, value in state.items()}


def take_up(optimizer: torch.optim.Optimizer, moments: Vectors) -> None:
    """Let an optimiser of one tensor go on from what `moments_of` gave."""
    [group] = optimizer.param_groups
    [parameter] = group["params"]
    state = {
        name: tensor_of(vector).reshape(parameter.shape if vector.size == parameter.numel() else ()).clone()
        for name, vector in moments.items()
    }
    optimizer.load_state_dict({"state": {0: state}, "param_groups": optimizer.state_dict()["param_groups"]})
