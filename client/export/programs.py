"""Programs as files that need no Wardround; their outputs are compared with the network's first."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import RunError
from shared.tasks.programs import Input, Program

LARGEST_DIFFERENCE = 1e-4
"""Between what the network and an exported program give, absolute and relative."""

_TRACED, _TRIED = 2, (1, 2, 3)  # samples of a batch; 1 would be taken for a constant
_REMEDY = "pip install 'wardround[export]'"


def onnx_program(program: Program) -> bytes:
    """Return a program as ONNX, checked with ONNX Runtime on batches of several sizes.

    Raises:
        RunError: It can't be written as ONNX, gives something else, or a package is missing.
    """
    try:
        import onnxruntime  # noqa: PLC0415 (of the extra)
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise RunError(f"ONNX needs the package '{error.name}'", where="--format", remedy=_REMEDY) from None
    batch = torch.export.Dim("batch", min=1, max=4096)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        with quiet(), _refusing("ONNX"):
            torch.onnx.export(
                program.module,
                tuple(_examples(program, _TRACED)),
                file,
                input_names=list(program.inputs),
                output_names=[program.output],
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in program.inputs),
                external_data=False,
                verbose=False,
            )
        content = file.read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def ask(tensors: Sequence[Tensor]) -> NDArray[np.float32]:
        named = zip(program.inputs, tensors, strict=True)
        found: NDArray[np.float32] = session.run(None, {name: value.numpy() for name, value in named})[0]
        return found

    require_same(program, ask, "ONNX")
    return content


def torchscript_program(program: Program) -> bytes:
    """Return a program as TorchScript, traced, and checked on batches of several sizes.

    Raises:
        RunError: It can't be traced, or gives something else.
    """
    with quiet(), _refusing("TorchScript"), torch.no_grad():
        traced = torch.jit.trace(program.module, tuple(_examples(program, _TRACED)), check_trace=False)
        stream = io.BytesIO()
        torch.jit.save(traced, stream)
    stream.seek(0)
    read = torch.jit.load(stream)
    require_same(program, lambda tensors: _asked(read, tensors), "TorchScript")
    return stream.getvalue()


def require_same(program: Program, ask: Callable[[Sequence[Tensor]], NDArray[np.float32]], what: str) -> None:
    """Compare an exported program with the network on batches of several sizes.

    Raises:
        RunError: They differ by more than `LARGEST_DIFFERENCE`.
    """
    for count in _TRIED:
        tensors = _examples(program, count)
        wanted = _asked(program.module, tensors)
        with _refusing(f"{what} for a batch of {count}"):
            found = ask(tensors)
        apart = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else np.inf
        if not np.allclose(found, wanted, rtol=LARGEST_DIFFERENCE, atol=LARGEST_DIFFERENCE):
            raise RunError(f"as {what} gives other numbers: they differ by {apart:.3g} in a batch of {count}")


def _asked(module: Callable[..., Tensor], tensors: Sequence[Tensor]) -> NDArray[np.float32]:
    with torch.no_grad():
        return module(*tensors).numpy()


def _examples(program: Program, count: int) -> list[Tensor]:
    """Return inputs as large as the real ones; they are the same each time."""
    source = torch.Generator().manual_seed(count)
    return [_example(own, count, source) for own in program.inputs.values()]


def _example(own: Input, count: int, source: torch.Generator) -> Tensor:
    if own.classes:
        return torch.randint(own.classes, (count, *own.shape), generator=source)
    return torch.randn(count, *own.shape, generator=source)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries say about themselves while their results are compared anyway."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise RunError(f"can't be had as {what}: {reason[:300]}") from error
