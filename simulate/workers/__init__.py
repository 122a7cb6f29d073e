"""Workers that serve simulated hospitals: in this process, in warm processes beside it, or as Ray actors."""

from collections.abc import Callable

from client.workers.calls import Call, Host, HostError, Outcome, Workers
from client.workers.processes import ProcessPool
from shared.errors import RunError
from simulate.workers.in_process import InProcess

__all__ = ["Call", "Host", "HostError", "Outcome", "Workers", "open_workers"]


def open_workers(spec: str, factory: Callable[[], Host], threads: int) -> Workers:
    """Open the workers that a user asked for; processes and actors warm up while the caller goes on.

    Args:
        spec: ``in-process``, a number of processes such as ``2``, ``ray:auto`` (as many actors as the
            cluster has room for) or a number of actors such as ``ray:4``.
        factory: Builds the host of one worker; picklable, and called inside each worker.
        threads: Threads of one worker. Bits depend on it, so it is the same for every kind of worker.

    Raises:
        RunError: The specification has none of these forms, or Ray is not installed.
    """
    kind, colon, count = spec.rpartition(":")
    if spec == "in-process":
        return InProcess(factory, threads)
    if not colon and _is_count(count):
        return ProcessPool(int(count), factory, threads)
    if kind == "ray" and (count == "auto" or _is_count(count)):
        from simulate.workers.ray_actors import RayWorkers  # noqa: PLC0415  (Ray is an extra, and heavy)

        return RayWorkers(None if count == "auto" else int(count), factory, threads)
    raise RunError(
        f"unknown workers '{spec}'",
        where="--workers",
        remedy="give 'in-process', a number of processes such as '2', 'ray:auto' or 'ray:4'",
    )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) > 0
