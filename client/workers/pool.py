"""What process workers and Ray workers have in common: dispatch, retry, cancelling, replacement."""

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from client.workers.calls import Call, Host, Outcome, Workers
from client.workers.schedule import Job, Schedule
from shared.errors import RunError

CANCEL_GRACE = 5.0
"""Seconds in which a worker may finish a cancelled call; then it is replaced and its warm data lost."""

LONGEST_START = 900.0
"""Seconds from a worker's start until it must have its host: a disk or a GPU's driver may hang for ever."""


def worker_environment(threads: int) -> dict[str, str]:
    """Return what must be in the environment of a worker's process when it begins.

    The numbers of threads are read when torch is imported. Large pages for large arrays save a training step
    on the CPU about a twentieth; glibc reads that when a program begins. Who has set it keeps their own.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    }


_STARTS = 3
"""How often in a row a worker that takes another's place may die while it starts: memory may run out once."""


@dataclass(frozen=True)
class Ready:
    """A worker has its host."""


@dataclass(frozen=True)
class Refused:
    """A worker could not build its host."""

    error: BaseException


@dataclass(frozen=True)
class Died:
    """A worker is gone."""

    how: str


Event = Ready | Refused | Died | Outcome


class Link(ABC):
    """The parent's end of one worker."""

    @abstractmethod
    def send(self, call: Call, shared: Mapping[str, Any]) -> None:
        """Start a call; ``shared`` stands for the call's arrays. A dead worker shows as ``Died`` later."""

    @abstractmethod
    def kill(self) -> None:
        """End the worker at once."""


LinkT = TypeVar("LinkT", bound=Link)


@dataclass(eq=False)
class Worker(Generic[LinkT]):
    """A worker as the pool sees it: starting, idle, busy with a job, or busy with a cancelled one."""

    link: LinkT
    ready: bool = False
    begun: float = field(default_factory=time.monotonic)
    job: Job | None = None
    replace_at: float = math.inf

    @property
    def idle(self) -> bool:
        """Whether it can take a job."""
        return self.ready and self.job is None

    @property
    def under_way(self) -> bool:
        """Whether the caller waits for what it does."""
        return self.job is not None and self.replace_at == math.inf

    @property
    def given_up_at(self) -> float:
        """When it is waited for no longer."""
        return self.replace_at if self.ready else self.begun + LONGEST_START


class Pool(Workers, Generic[LinkT]):
    """Keeps ``size`` workers busy; subclasses say how one is started, spoken to and heard."""

    def __init__(self, size: int, factory: Callable[[], Host], threads: int) -> None:
        self.size = size
        self._factory = factory
        self._threads = threads
        self._schedule = Schedule()
        self._died_early = 0  # in a row, while they started
        self._opened = time.monotonic()
        self._workers = [Worker(self._start()) for _ in range(size)]

    @abstractmethod
    def _start(self) -> LinkT:
        """Start a worker without waiting for it."""

    @abstractmethod
    def _share(self, array: NDArray[Any]) -> Any:
        """Return what stands for the array until it is sent, then for a copy that workers can read."""

    @abstractmethod
    def _events(self, links: Sequence[LinkT], timeout: float | None) -> list[tuple[LinkT, Event]]:
        """Block until a worker has something to say, or the timeout (seconds)."""

    def warm_up(self) -> None:
        """See the base class."""
        while self.startup_seconds is None:
            self._listen(math.inf)

    def submit(self, calls: Sequence[Call]) -> None:
        """See the base class."""
        if not self._workers:
            raise RunError("the workers are closed", remedy="open new ones")
        arrays = {id(array): array for call in calls for array in call.arrays.values()}
        copies = {key: self._share(array) for key, array in arrays.items()}
        for call in calls:
            shared = {name: copies[id(array)] for name, array in call.arrays.items()}
            self._schedule.add([Job(replace(call, arrays={}), shared)])
        self._dispatch()

    def wait(self, timeout: float | None) -> list[Outcome]:
        """See the base class."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while self._schedule.pending or any(worker.under_way for worker in self._workers):
            outcomes = self._listen(deadline)
            if outcomes or time.monotonic() >= deadline:
                return outcomes
        return []

    def cancel(self) -> None:
        """See the base class."""
        self._schedule.pending.clear()
        for worker in self._workers:
            if worker.under_way:
                worker.replace_at = time.monotonic() + CANCEL_GRACE

    def close(self) -> None:
        """See the base class."""
        self._schedule.pending.clear()
        while self._workers:
            self._workers.pop().link.kill()

    def _dispatch(self) -> None:
        for worker in self._workers:
            if worker.idle and self._schedule.pending:
                worker.job = self._schedule.take(worker)
                worker.link.send(worker.job.call, worker.job.shared)

    def _listen(self, deadline: float) -> list[Outcome]:
        """Wait for workers until the deadline; keep them busy; return what is for the caller."""
        until = min([deadline, *(worker.given_up_at for worker in self._workers)])
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        by_link = {worker.link: worker for worker in self._workers}
        events = self._events(list(by_link), timeout)
        outcomes = [outcome for link, event in events if (outcome := self._handle(by_link[link], event))]
        self._replace_stuck()  # after listening: who has finished meanwhile is not stuck
        self._dispatch()
        return outcomes

    def _handle(self, worker: Worker[LinkT], event: Event) -> Outcome | None:
        if isinstance(event, Refused):
            self.close()
            raise event.error
        if isinstance(event, Died):
            return self._bury(worker, event)
        if isinstance(event, Ready):
            worker.ready, self._died_early = True, 0
            if self.startup_seconds is None and all(worker.ready for worker in self._workers):
                self.startup_seconds = time.monotonic() - self._opened
            return None
        return self._finish(worker, event)

    def _finish(self, worker: Worker[LinkT], outcome: Outcome) -> Outcome | None:
        job, wanted = worker.job, worker.under_way
        worker.job, worker.replace_at = None, math.inf
        if job is not None and outcome.error is None:
            self._schedule.finished(job.call, outcome.seconds)
        return outcome if wanted else None

    def _bury(self, worker: Worker[LinkT], death: Died) -> Outcome | None:
        if not worker.ready:
            self._died_early += 1
            if self.startup_seconds is not None and self._died_early < _STARTS:
                self._replace(worker)
                return None
            self.close()
            raise RunError(
                f"a worker {death.how} while it started",
                remedy="look for its message above; with little memory, ask for fewer workers",
            )
        job = worker.job if worker.under_way else None
        self._replace(worker)
        if job is None:
            return None
        job.deaths += 1
        if job.deaths == 1:
            self._schedule.pending.insert(0, job)
            return None
        error = RunError(
            f"site '{job.call.site}': the worker {death.how} during '{job.call.kind}', twice",
            remedy="often memory runs out: ask for fewer workers, a smaller batch or smaller images",
        )
        return Outcome(job.call.id, error=error)

    def _replace_stuck(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.given_up_at > now:
                continue
            if worker.ready:
                self._replace(worker)
            else:
                self._bury(worker, Died(f"did not get ready within {LONGEST_START:.0f} s"))

    def _replace(self, worker: Worker[LinkT]) -> None:
        worker.link.kill()
        self._schedule.forget(worker)
        self._workers[self._workers.index(worker)] = Worker(self._start())
