"""The GPU without a GPU refuses what CUDA refuses, and computes what the processor does."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from client.training.flat_parameters import FlatParameters
from shared.metrics.states import Mean
from shared.networks.random_state import drawn_from
from tests.elsewhere import a_gpu

Case = Callable[[Tensor, Tensor], object]  # of three numbers there and three here


def _written(there: Tensor, here: Tensor) -> Tensor:
    there = there.clone()
    there[1:] = here[:2]
    there[here > 1] = 5.0
    return there


REFUSED: dict[str, Case] = {
    "arithmetic": lambda there, here: there + here,
    "arithmetic with a number of the GPU": lambda there, here: here + there[0],
    "where": lambda there, here: torch.where(there > 0, there, here),
    "a condition of the GPU": lambda there, here: torch.where(there > 0, here, 0.0),
    "stacking": lambda there, here: torch.stack([there, here]),
    "stacking numbers": lambda there, here: torch.stack([there[0], here[0]]),
    "multiplication of matrices": lambda there, here: there[None] @ here[:, None],
    "a sum in place": lambda there, here: here.add_(there),
    "a number in place": lambda there, here: here.sum().add_(there.sum()),
    "an index of the GPU": lambda there, here: here[there.long()],
    "a mask of the GPU": lambda there, here: here[there > 0],
    "values for indices": lambda there, here: there.index_put_((here.long(),), here),
    "gathering": lambda there, here: there.gather(0, here.long()),
    "places to add to": lambda there, here: there.index_add(0, here.long(), there),
    "edges of bins": torch.bucketize,
    "a loss": nn.functional.mse_loss,
    "a network": lambda there, here: nn.Linear(3, 1).to("cuda")(here),
    "its input": lambda there, here: nn.Linear(3, 1)(there),
    "a generator": lambda there, here: torch.rand(2, generator=torch.Generator(), device="cuda"),
    "NumPy": lambda there, here: there.numpy(),
    "an array": lambda there, here: np.asarray(there),
}
ALLOWED: dict[str, tuple[Case, list[float]]] = {
    "arithmetic with a single number": (lambda there, here: there * here[2] + here.sum(), [3, 5, 7]),
    "where with a single number": (lambda there, here: torch.where(there > 1, there, here[1]), [1, 1, 2]),
    "a filling number": (lambda there, here: there.masked_fill(there > 1, here[1]), [0, 1, 1]),
    "an index of the processor": (lambda there, here: there[here.long().flip(0)], [2, 1, 0]),
    "a mask of the processor": (lambda there, here: there[here > 0], [1, 2]),
    "a copy": (lambda there, here: there.clone().copy_(here + 1), [1, 2, 3]),
    "a slice that is written": (_written, [0, 0, 5]),
    "what was brought there": (lambda there, here: there + here.to(there.device) + here.cuda(), [0, 3, 6]),
    "what was brought to it": (lambda there, here: there + here.to(there), [0, 2, 4]),
    "what was made there": (lambda there, here: there + torch.tensor([1, 2, 3], device="cuda"), [1, 3, 5]),
    "what was made like it": (lambda there, here: there.new_tensor([1, 2, 3]) + there.new_ones(3), [2, 3, 4]),
    "what was brought here": (lambda there, here: there.cpu() + here, [0, 2, 4]),
    "a row of numbers": (lambda there, here: here + torch.tensor(there.tolist()), [0, 2, 4]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cuda_refuses_is_refused(case: str) -> None:
    here = torch.arange(3.0)
    with a_gpu() as gpu, pytest.raises((RuntimeError, TypeError), match=r"device|indices|to numpy"):
        REFUSED[case](here.to(gpu), here)


@pytest.mark.parametrize("case", ALLOWED)
def test_what_cuda_allows_is_done(case: str) -> None:
    work, expected = ALLOWED[case]
    here = torch.arange(3.0)
    with a_gpu() as gpu:
        found = work(here.to(gpu), here)
        assert isinstance(found, Tensor)
        assert found.device == (gpu if found.is_cuda else torch.device("cpu"))
        assert found.tolist() == expected


def test_a_mean_takes_what_is_on_a_gpu() -> None:
    mean = Mean(2)
    with a_gpu() as gpu:
        mean.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=gpu), torch.ones(2, 2, device=gpu) > 0)
    assert mean.compute().tolist() == [2.0, 3.0]


def _trained(device: torch.device) -> tuple[nn.Module, list[nn.Parameter]]:
    with drawn_from(1, torch.device("cpu")):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.Linear(144, 2)
        )
    before = list(model.parameters())
    model.to(device).to(memory_format=torch.channels_last)
    flat = FlatParameters(list(model.parameters()))
    optimizer = torch.optim.AdamW([flat.vector])
    images = torch.linspace(0, 1, 3 * 64).reshape(3, 1, 8, 8).to(device)
    for _ in range(2):
        flat.collect_gradients()
        nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 0], device=device)).backward()
        optimizer.step()
    return model, before


def test_a_training_there_is_one_here() -> None:
    """Gradients, an optimiser, parameters that share their memory, a copy: bit for bit."""
    model, _ = _trained(torch.device("cpu"))
    with a_gpu() as gpu:
        other, before = _trained(gpu)
        assert all(one.is_cuda for one in other.state_dict().values())
        # On a GPU too `Module.to` changes parameters, and makes no others.
        assert list(map(id, other.parameters())) == list(map(id, before))
        copied = deepcopy(other).cpu()
        for name, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[name].cpu(), value), name
            assert torch.equal(copied.state_dict()[name], value), name


def test_what_is_drawn_there_has_a_state_of_its_own() -> None:
    with a_gpu() as gpu:
        torch.cuda.manual_seed(3)
        first = torch.rand(4, device=gpu).tolist()
        before = torch.get_rng_state()
        with drawn_from(3, gpu):
            assert torch.rand(4, device=gpu).tolist() == first
            assert nn.functional.dropout(torch.ones(64, device=gpu)).is_cuda
        torch.manual_seed(7)
        here = torch.rand(2).tolist()
        torch.manual_seed(7)
        torch.rand(2, device=gpu)
        assert torch.rand(2).tolist() == here
        torch.set_rng_state(before)


def test_halves_are_computed_in_where_cuda_would() -> None:
    with a_gpu() as gpu, torch.autocast("cuda", torch.bfloat16):
        assert nn.Linear(3, 1).to(gpu)(torch.ones(2, 3, device=gpu)).dtype == torch.bfloat16


def test_without_it_there_is_none() -> None:
    with a_gpu():
        assert torch.cuda.is_available()
    if not torch.backends.cuda.is_built():
        assert not torch.cuda.is_available()
        with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
            torch.ones(2).to("cuda:0")
    number = torch.ones(1, requires_grad=True)
    (2 * number).backward()
    assert number.grad == 2
