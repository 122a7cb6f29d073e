"""What the API and the pages need alike: threads, what one person may have at once, and may see."""

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException

from server.audit.trail import AuditTrail
from server.folder.limits import RunLimits
from server.gateway.people import Caller
from server.gateway.visible_runs import AtHand
from server.registry.store import DEFAULT_PROJECT
from server.runs.control import Priority
from server.runs.local import Coordinator
from server.runs.visibility import Figures
from server.runs.watching import Look, Watching
from shared.flower.runs import Runs
from shared.job.schema import JobSpec
from shared.run_folder import RunRecord

SIGN_OF_LIFE = 10.0  # seconds without an event after which who watches gets a sign
LONGEST_STREAM = 600.0  # seconds; who watches longer comes again, and the log-in is looked at again
_SLOW, _QUICK = 8, 16  # threads for what takes seconds (starting a run), and for what does not
_SLOW_EACH = 2  # of the former, those that one person may have at once
Answer = TypeVar("Answer")
Change = Callable[[Coordinator, str], None]


class RunDesk:
    """The runs of a coordinator, for those who call.

    Args:
        runs: Folder of the run folders.
        connect: Gives a new connection to the SuperLink where it is now.
        trail: The audit log.
        projects: Gives the names of all projects, for operators.
        most_queued: Runs that one person may have in the queue.
    """

    def __init__(
        self,
        runs: Path,
        connect: Callable[[], Runs],
        trail: AuditTrail,
        projects: Callable[[], Sequence[str]] = lambda: (DEFAULT_PROJECT,),
        *,
        most_queued: int = RunLimits().queued_each,
    ) -> None:
        self.trail = trail
        self._runs = runs
        self._projects = projects
        self._most_queued = most_queued
        self._connect = connect
        self._slow, self._quick = CapacityLimiter(_SLOW), CapacityLimiter(_QUICK)
        self._slow_each: dict[str, CapacityLimiter] = {}
        self._watching = Watching(self.quickly)
        self._at_hand = AtHand(self.quickly)

    def of(self, user: Caller, projects: Sequence[str] = ()) -> Coordinator:
        """Return the runs that a person may see; a new one may belong to one of the projects."""
        return Coordinator(
            self._runs,
            self._connect,
            partial(self.trail.write, person=user.name),
            user.name,
            projects=projects,
            see=None if user.role == "operator" else user.projects,
            role=user.role,
        )

    async def projects_of(self, user: Caller) -> Sequence[str]:
        """Return the projects to which a new run of a person may belong."""
        return await self.quickly(self._projects) if user.role == "operator" else user.projects

    async def submit(
        self, user: Caller, job: JobSpec, project: str | None, priority: Priority = "normal"
    ) -> str:
        """Put a run of a validated job into the queue; returns its name.

        Raises:
            HTTPException: 403, the priority is for operators; 429, the person has enough in the queue.
        """
        if priority == "high" and user.role != "operator":
            raise HTTPException(HTTPStatus.FORBIDDEN, "only operators may put a run before all others")
        coordinator = self.of(user, await self.projects_of(user))
        rows = await self.quickly(coordinator.list)
        own = sum(row.status == "queued" and row.researcher == user.name for row in rows)
        if own >= self._most_queued:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{own} runs of {user.name} are in the queue, as many as may be; stop some, or wait",
            )
        return await self.slowly(user, partial(coordinator.submit, job, project, priority))

    async def change(self, user: Caller, name: str, change: Change) -> None:
        """Stop, resume or remove a run, if it is the person's own; operators may do it with every run.

        Raises:
            HTTPException: 403, it is not.
            RunError: There is no such run, or it can't be done.
        """
        coordinator = self.of(user)
        found = await self.quickly(partial(coordinator.look, name))
        if not may_change(user, found.row.researcher):
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "only who submitted a run, and operators, may stop, resume or remove it"
            )
        await self.slowly(user, partial(change, coordinator, name))

    def follow(self, run: RunRecord, after: int) -> AsyncGenerator[Look, None]:
        """Yield what happens in a run, see `Watching.follow`."""
        return self._watching.follow(run, after, SIGN_OF_LIFE)

    async def figures(self, coordinator: Coordinator, run: RunRecord) -> Figures:
        """Return what the person of a coordinator may see of a run."""
        return await self._at_hand.figures(coordinator, run)

    async def quickly(self, work: Callable[[], Answer]) -> Answer:
        """Do what takes a moment, in a thread."""
        return await to_thread.run_sync(work, limiter=self._quick)

    async def slowly(self, user: Caller, work: Callable[[], Answer]) -> Answer:
        """Do what takes seconds; of one person only so much at once, so that nobody keeps others waiting."""
        own = self._slow_each.setdefault(user.name, CapacityLimiter(_SLOW_EACH))
        async with own:
            return await to_thread.run_sync(work, limiter=self._slow)


def may_change(user: Caller, researcher: str) -> bool:
    """Say whether a person may stop and resume a run of a researcher's."""
    return user.role == "operator" or (user.role == "researcher" and user.name == researcher)
