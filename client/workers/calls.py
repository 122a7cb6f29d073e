"""What goes to a worker and what comes back, whatever kind of worker it is."""

import pickle
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from numpy.typing import NDArray

from shared.errors import WardroundError

HEAD = "head"
"""Kind of a call that asks what may be fetched for a message, by what stands in it beside its arrays."""


@dataclass(frozen=True)
class Call:
    """One request to a site.

    Attributes:
        id: Chosen by the caller, unique among the calls under way.
        site: Calls of one site go to a worker that served it before, where its model and data are warm.
        kind: What is asked; with the site it tells how long a call will take.
        payload: Small and picklable.
        arrays: Of any shape. An array object that is in several calls (the global model) is
            shared once. Neither the caller, until the outcome is there, nor the host may change them;
            the host may take them out, so that what it has copied is not held twice.
    """

    id: int
    site: str
    kind: str
    payload: Mapping[str, Any]
    arrays: MutableMapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes:
        id: The call's.
        payload: What the host returned; None when the call failed.
        arrays: What the host returned; the receiver's own.
        error: A ``WardroundError`` as the host raised it, or a ``HostError`` for anything else.
        seconds: Time inside the host.
    """

    id: int
    payload: Mapping[str, Any] | None = None
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    error: BaseException | None = None
    seconds: float = 0.0


class HostError(Exception):
    """An exception in a host that is a fault of the program, with the traceback from the worker."""


class Host(Protocol):
    """Serves the calls of one worker; lives as long as the worker and keeps models and datasets warm."""

    def handle(self, call: Call) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
        """Return the payload and the arrays of the reply."""
        ...


class Workers(ABC):
    """A fixed number of workers; a context manager that closes them.

    Attributes:
        size: How many calls can run at once.
        startup_seconds: From opening until every worker had its host; None before.
    """

    size: int
    startup_seconds: float | None = None

    @abstractmethod
    def warm_up(self) -> None:
        """Block until every worker has its host; without it the first calls wait for that.

        Raises:
            WardroundError: A host could not be built.
        """

    @abstractmethod
    def submit(self, calls: Sequence[Call]) -> None:
        """Queue calls; idle workers start on them at once."""

    @abstractmethod
    def wait(self, timeout: float | None) -> list[Outcome]:
        """Block until an outcome is there and return all that are, in the order of their arrival.

        Args:
            timeout: Seconds; None waits as long as calls are under way.

        Returns:
            An empty list after the timeout, or when no call is under way.

        Raises:
            WardroundError: A host could not be built.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Forget all calls that are not finished; a worker that stays stuck in one is replaced."""

    @abstractmethod
    def close(self) -> None:
        """End the workers, busy or not."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answer(host: Host, call: Call) -> Outcome:
    """Let the host handle a call, and turn whatever happens into an outcome."""
    start = time.perf_counter()
    try:
        payload, arrays = host.handle(call)
    except Exception as error:
        return Outcome(call.id, error=portable(error), seconds=time.perf_counter() - start)
    return Outcome(call.id, payload, arrays, seconds=time.perf_counter() - start)


def portable(error: Exception) -> Exception:
    """Return the error if it is for a person and survives the way to another process, else its traceback."""
    if isinstance(error, WardroundError):
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  (its own bytes)
        except Exception:
            return HostError("".join(traceback.format_exception(error)))
        return error
    return HostError("".join(traceback.format_exception(error)))
