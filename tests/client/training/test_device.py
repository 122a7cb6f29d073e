"""Devices by name; what is not there is said."""

import pytest
import torch

from client.training.device import explained, open_device
from shared.errors import SiteError


def test_auto_is_what_there_is():
    assert open_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert open_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "tpu9", "", "cuda:x", "cuda:99", "meta"])
def test_what_is_no_device_here(name):
    with pytest.raises(SiteError, match="--device"):
        open_device(name)


def test_too_little_memory_says_what_to_change():
    with pytest.raises(SiteError, match=r"alpha.*too little memory[^$]*batch_size"), explained("alpha"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
