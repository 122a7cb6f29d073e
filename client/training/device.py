"""The device that a site computes on, set so that the same job gives the same result."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from client.training.compiler import require_compiler
from shared.errors import SiteError
from shared.job.schema import JobSpec

_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # as processors of Intel and AMD and of ARM call it


def open_device(name: str, memory_gib: float | None = None) -> torch.device:
    """Return a device by name and make its arithmetic repeatable.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto" for a GPU where there is one.
        memory_gib: GPU memory that this process may take.

    Raises:
        SiteError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SiteError(
            f"'{name}' is not a device; use cpu, cuda, cuda:N or auto", where="--device"
        ) from None
    if device.type == "cpu":
        return device
    if device.type != "cuda" or not torch.cuda.is_available():
        raise SiteError(f"'{name}' can't be used: PyTorch finds no such GPU here", where="--device")
    if device.index is not None and device.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SiteError(f"'{name}' does not exist: there are {count} GPUs, numbered from 0", where="--device")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if memory_gib is not None:
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(memory_gib / total, 1.0), device)
    return device


def check_machine(job: JobSpec, device: torch.device, where: str) -> None:
    """Check that a device has the arithmetic of a job: with another one, it would give another model.

    Args:
        job: Asks for it.
        device: To train on.
        where: For errors.

    Raises:
        SiteError: It lacks it, or a compiler is missing.
    """
    precision = job.training.precision
    if precision != "float32" and precision not in half_precisions(device):
        what = "GPU" if device.type == "cuda" else "processor"
        raise SiteError(
            f"the job computes in {precision}, and this machine's {what} does not",
            where=where,
            remedy="Set [training] precision = 'float32' in the job, or train on a device that has it.",
        )
    if job.training.compile:
        require_compiler(where)


def half_precisions(device: torch.device) -> list[str]:
    """Return the precisions of 16 bits in which a device computes by itself; others would only be slower."""
    if device.type == "cuda":
        ampere = torch.cuda.is_bf16_supported(including_emulation=False)
        return ["bfloat16", "float16"] if ampere else ["float16"]
    capabilities = torch.cpu.get_capabilities()
    return ["bfloat16"] if any(capabilities.get(name) for name in _BFLOAT16) else []


@contextmanager
def explained(site: str) -> Iterator[None]:
    """Let PyTorch's error about too little memory say what to change.

    Raises:
        SiteError: In its place.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SiteError(
            "the GPU has too little memory for this job",
            where=site,
            remedy="Lower training.batch_size or data.patch, or raise [device] memory_gib at the site.",
        ) from error
