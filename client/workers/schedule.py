"""Which call a worker that has become idle should take. Results do not depend on it, only time does."""

import math
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
    """Pending jobs, the worker that served each site last, and how long each site's calls took."""

    def __init__(self) -> None:
        self.pending: list[Job] = []
        self._homes: dict[str, Hashable] = {}
        self._seconds: dict[tuple[str, str], float] = {}

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue jobs."""
        self.pending.extend(jobs)

    def take(self, worker: Hashable) -> Job:
        """Remove and return the best pending job for an idle worker.

        Sites that the worker served last come first, then sites that are warm nowhere, then those of other
        workers; among these the longest, because a long call that starts last makes the others wait for it.
        """
        job = min(self.pending, key=lambda job: (self._distance(job.call, worker), -self._expected(job.call)))
        self.pending.remove(job)
        self._homes[job.call.site] = worker
        return job

    def finished(self, call: Call, seconds: float) -> None:
        """Learn how long a call took."""
        self._seconds[call.site, call.kind] = seconds

    def forget(self, worker: Hashable) -> None:
        """Nothing is warm any more in a worker that has gone."""
        self._homes = {site: home for site, home in self._homes.items() if home is not worker}

    def _distance(self, call: Call, worker: Hashable) -> int:
        home = self._homes.get(call.site)
        return 1 if home is None else 0 if home is worker else 2

    def _expected(self, call: Call) -> float:
        return self._seconds.get((call.site, call.kind), math.inf)
