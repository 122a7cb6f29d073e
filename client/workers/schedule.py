"""Which call a worker that has become idle should take. Results do not depend on it, only time does."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from client.workers.calls import Call


@dataclass(eq=False)
class Job:
    """A call with what the pool needs to send it, and to send it once more."""

    call: Call
    shared: dict[str, Any]
    deaths: int = 0


class Schedule:
    """Pending jobs, the workers in which each site is warm, and how long each site's calls took."""

    def __init__(self) -> None:
        self.pending: list[Job] = []
        self._warm: defaultdict[str, set[Hashable]] = defaultdict(set)
        self._seconds: dict[tuple[str, str], float] = {}

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self.pending.extend(jobs)

    def take(self, worker: Hashable) -> Job:
        """Remove and return the best pending job for an idle worker.

        Sites that are warm in this worker alone come first, then those that are warm in others too, then
        those that are warm nowhere, then those of other workers. So it is always the same few sites that move
        between workers to keep all of them busy, and memory does not grow with every round. Among equals
        comes the longest call: started last, it would make the others wait.
        """
        job = min(self.pending, key=lambda job: (self._distance(job.call, worker), -self._expected(job.call)))
        self.pending.remove(job)
        self._warm[job.call.site].add(worker)
        return job

    def finished(self, call: Call, seconds: float) -> None:
        """Learn how long a call took."""
        self._seconds[call.site, call.kind] = seconds

    def forget(self, worker: Hashable) -> None:
        """Nothing is warm any more in a worker that has gone."""
        for workers in self._warm.values():
            workers.discard(worker)

    def _distance(self, call: Call, worker: Hashable) -> int:
        warm = self._warm[call.site]
        if worker in warm:
            return 0 if len(warm) == 1 else 1
        return 3 if warm else 2

    def _expected(self, call: Call) -> float:
        return self._seconds.get((call.site, call.kind), math.inf)
