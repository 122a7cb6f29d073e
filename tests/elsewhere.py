"""A GPU without a GPU: tensors that PyTorch takes for those of `cuda:0`, computed on the processor.

`with a_gpu():` shows one GPU to everything inside. A tensor there is a wrapper around a tensor here. Below
autograd, where PyTorch would start a kernel of the GPU, each operation arrives in `_run`, is done with the
tensors here, and what comes of it is wrapped again. Above that all is PyTorch's own: devices, gradients,
hooks, autocast, layouts in memory. So what ends in an error on a GPU ends in one here:

- tensors of both sides in one operation, but for what CUDA allows: copies, a single number (0 dimensions)
  from the processor in arithmetic, and indices of the processor for a tensor of the GPU;
- NumPy on the memory of a tensor there;
- a generator of the processor for numbers of the GPU. What is drawn there has a state of its own, which
  `torch.cuda.manual_seed` sets.

What it does not show: kernels that a GPU lacks or that add in another order, memory, time, streams. A second
thread sees no GPU; it may work on tensors of the processor, as those that load batches do.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU = torch.device("cuda:0")
aten = torch.ops.aten
_COPIES = {aten._to_copy, aten.copy_, aten._foreach_copy_}
_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_WITH_A_NUMBER = {aten.masked_fill, aten.masked_fill_, aten.index_fill, aten.index_fill_, aten.fill_}
_LENGTHS = {aten._pack_padded_sequence, aten._pack_padded_sequence_backward}  # they stay on the processor
_SEEN_BY_PYTORCH = torch.device("xla:0")  # see `There`
_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)
_CUDA, _XLA = 1, 9  # of `c10::DeviceType`


class There(Tensor):
    """A tensor of the GPU.

    Without CUDA gradients of tensors of CUDA can't be computed. PyTorch's code in C++ sees tensors of XLA, to
    which it does the same.

    Args:
        here: Its numbers.
    """

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        return Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=_SEEN_BY_PYTORCH,
            _extra_dispatch_keys=_AUTOCAST,
        )

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Say what it is made of; `Module.to` then changes parameters instead of making others."""
        return ["here"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: object) -> "There":
        return There(inner["here"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        """Return the GPU."""
        return GPU

    @property
    def is_cuda(self) -> bool:
        """Return that it is."""
        return True

    @property
    def data(self) -> Tensor:
        """Return the tensor without its history."""
        return self.detach()

    @data.setter
    def data(self, other: "There") -> None:
        Tensor.data.__set__(self, other)
        self.here = other.here

    def data_ptr(self) -> int:
        """Return an address that two tensors share if their numbers begin at the same place."""
        return self.here.data_ptr()

    def __repr__(self, **_: Any) -> str:
        return f"{self.here} on {GPU}"

    def __format__(self, spec: str) -> str:
        return format(self.cpu(), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> "There":
        other = There(deepcopy(self.here, memo)).requires_grad_(self.requires_grad)
        vars(other).update({name: value for name, value in vars(self).items() if name != "here"})
        return other

    def numpy(self, **_: Any) -> Any:
        """Raise what PyTorch does."""
        raise TypeError(f"can't convert {GPU} device type tensor to numpy. Use Tensor.cpu() first")

    def tolist(self) -> Any:
        """Return the numbers: they are copied, as from a GPU."""
        return self.cpu().tolist()


class _Machine(TorchDispatchMode):
    """Sees every operation, so that those which make tensors can make them on the GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    device = kwargs.get("device")
    there = any(isinstance(one, There) for one in given)
    goes = there if device is None else torch.device(device).type != "cpu"
    if not there and not goes:
        return func(*args, **kwargs)
    if goes:
        _check(func, args, kwargs, given)
    owners = {id(_here(one)): one for one in given}
    inner, named = tree_map_only(There, _here, (args, kwargs))
    if device is not None:
        named["device"] = torch.device("cpu")
    drawing = torch.Tag.nondeterministic_seeded in func.tags and kwargs.get("generator") is None
    with _state_of_the_gpu() if goes and drawing else nullcontext():
        found = func(*inner, **named)
    if not goes:
        return found
    if func.overloadpacket is aten._pack_padded_sequence:
        return There(found[0]), found[1]
    return tree_map_only(Tensor, lambda one: owners[id(one)] if id(one) in owners else There(one), found)


def _here(one: Tensor) -> Tensor:
    return one.here if isinstance(one, There) else one


def _check(func: Any, args: Any, kwargs: dict[str, Any], given: list[Tensor]) -> None:
    """Refuse what CUDA would not do."""
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    kind, ours = func.overloadpacket, [one for one in given if not isinstance(one, There)]
    if kind is aten._pack_padded_sequence and isinstance(args[1], There):
        raise RuntimeError("'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0")
    if not ours or kind in _COPIES or kind in _LENGTHS:
        return
    if kind in _INDEXED:
        if not isinstance(args[0], There):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
        ours = [one for one in ours if all(one is not index for index in args[1])]
    numbers = torch.Tag.pointwise in func.tags or kind in _WITH_A_NUMBER or kind in _INDEXED
    written = _written(func, args, kwargs)
    if any(one.dim() or not numbers or any(one is own for own in written) for one in ours):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {GPU} and cpu ({func})")


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """Return what an operation writes into."""
    named = dict(zip((own.name for own in func._schema.arguments), args, strict=False)) | kwargs
    infos = [(own.name, own.alias_info) for own in func._schema.arguments]
    return tree_leaves([named.get(name) for name, info in infos if info is not None and info.is_write])


_drawn_there = torch.Generator()


@contextmanager
def _state_of_the_gpu() -> Iterator[None]:
    """Let the processor's generator draw as that of the GPU, and be afterwards as it was."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(_drawn_there.get_state())
    try:
        yield
    finally:
        _drawn_there.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


@contextmanager
def a_gpu() -> Iterator[torch.device]:
    """Let this machine have one GPU, in this thread; yields its device."""
    torch.ones((), requires_grad=True).backward()  # else PyTorch starts a thread for the GPU, and can't fork
    cuda: dict[str, Callable[..., object]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda **_: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "device": nullcontext,
        "manual_seed": _drawn_there.manual_seed,
        "manual_seed_all": _drawn_there.manual_seed,
        "get_rng_state": lambda *_: _drawn_there.get_state(),
        "set_rng_state": lambda state, *_: _drawn_there.set_state(state),
        "get_device_name": lambda *_: "none",
    }
    _drawn_there.manual_seed(0)
    with ExitStack() as stack:
        for name, own in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, own))
        stack.enter_context(_device_known_to_pytorch())
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` makes its tensor here, and moves it
        stack.enter_context(_Machine())
        yield GPU


@contextmanager
def _device_known_to_pytorch() -> Iterator[None]:
    """Let PyTorch have its guard of CUDA devices that does nothing, which it keeps for tracing without a GPU.

    It takes it only in place of a guard that counts no device; so such a one stands there before.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * (_XLA + 1)).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    before = guards[_CUDA]
    none = ctypes.CFUNCTYPE(ctypes.c_long)(lambda: 0)
    methods = (ctypes.c_void_p * 64)(*[ctypes.cast(none, ctypes.c_void_p).value] * 64)
    guard = ctypes.c_void_p(ctypes.addressof(methods))
    guards[_CUDA] = ctypes.addressof(guard)
    torch._C._ensureCUDADeviceGuardSet()
    guards[_XLA] = guards[0]  # that of the processor has nothing to do either
    try:
        yield
    finally:
        guards[_CUDA], guards[_XLA] = before, None
