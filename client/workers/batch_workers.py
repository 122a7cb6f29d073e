"""A worker as a job of a cluster, where the GPUs are; the service stays where it reaches the coordinator.

The two speak by files in a folder on a disk that both see. The job is asked for with the first call, stays
warm, and ends by itself where nothing comes for a while, so that no GPU is held for nothing. A job without
its service ends, too.
"""

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from client.workers.batch_worker import (
    ANSWER,
    BUILT,
    CALL,
    PULSE,
    PULSE_EVERY,
    TAKEN,
    file_of,
)
from client.workers.calls import Call, Outcome, Workers
from client.workers.cluster import Cluster, Standing
from client.workers.message_files import read_outcome, write_call
from client.workers.pool import worker_environment
from client.workers.questions import Answer, Desk
from shared.errors import RunError, WardroundError
from shared.files import replace_file

log = logging.getLogger(__name__)

LOG, LOG_BEFORE = "worker.log", "worker.1.log"
"""What the jobs say, beside their folders."""
_LONGEST_LOG = 8 * 2**20  # bytes
_JOB = "job"  # file with the cluster's name of a job
_LOOK = 0.1  # seconds between looks for an answer
_ASK = 5.0  # seconds between questions to the cluster
_JOBS_FOR_A_CALL = 3  # one, one more after bad luck, and one where a job had just ended as the call came


@dataclass
class _Job:
    folder: Path
    name: str
    desk: Desk
    standing: str = ""
    is_built: bool = False
    served: int = 0  # calls that it has answered
    asked: float = 0.0  # when the cluster was asked last


@dataclass
class _Work:
    """A call under way."""

    id: int
    site: str
    kind: str
    number: int  # in its job
    jobs: int = 1  # that were asked for it
    ends: int = 0  # of jobs that had taken it


class BatchWorkers(Workers):
    """One worker, as a job of a cluster.

    Args:
        cluster: Runs it.
        folder: For its files, on a disk that the machines of the cluster see.
        command: What a job runs, given its folder.
        environment: What it finds there.
        open_answers: Opens, for a new job, what answers its questions.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        command: Callable[[Path], Sequence[str]],
        environment: dict[str, str],
        open_answers: Callable[[], Answer],
    ) -> None:
        self._open_answers = open_answers
        self.size = 1
        self._cluster = cluster
        self._folder = folder
        self._command = command
        self._environment = worker_environment(1) | environment  # each job sets its own number of threads
        self._job: _Job | None = None
        self._work: _Work | None = None
        self._waiting: list[Call] = []
        self._end = threading.Event()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end_those_of_before()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def warm_up(self) -> None:
        """See the base class; no GPU is taken before there is work for it."""
        self.startup_seconds = 0.0

    def submit(self, calls: Sequence[Call]) -> None:
        """See the base class."""
        self._waiting += calls
        self._begin_next()

    def wait(self, timeout: float | None) -> list[Outcome]:
        """See the base class."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while self._work is not None:
            if (outcome := self._look()) is not None:
                self._begin_next()
                return [outcome]
            if time.monotonic() >= deadline:
                break
            time.sleep(min(_LOOK, max(0.0, deadline - time.monotonic())))
        return []

    def cancel(self) -> None:
        """See the base class."""
        self._waiting.clear()
        if self._work is not None:
            self._end_job()

    def close(self) -> None:
        """See the base class."""
        self._waiting.clear()
        self._end_job()
        self._end.set()

    def _begin_next(self) -> None:
        if self._work is not None or not self._waiting:
            return
        call = self._waiting.pop(0)
        job = self._running_job()
        number = job.served + 1
        self._work = _Work(call.id, call.site, call.kind, number)
        write_call(file_of(job.folder, CALL, number), call)

    def _running_job(self) -> _Job:
        """Return the job that is there, unless it has ended meanwhile, or a new one."""
        job = self._job
        if job is not None and time.monotonic() - job.asked > _ASK and self._cluster.look(job.name).is_over:
            self._end_job()
        return self._job or self._new_job()

    def _new_job(self) -> _Job:
        answer = self._open_answers()
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        self._write_pulse(folder)
        desk = Desk(folder, answer)
        self._rotate_log()
        try:
            name = self._cluster.submit(self._command(folder), self._environment, self._folder / LOG)
        except WardroundError:
            desk.close()
            shutil.rmtree(folder)
            raise
        replace_file(folder / _JOB, name.encode(), sync=False)
        log.info("job %s is asked for", name)
        self._job = _Job(folder, name, desk)
        return self._job

    def _look(self) -> Outcome | None:
        """Return the answer to the call under way, if it is there or never will be."""
        job, work = self._job, self._work
        assert job is not None and work is not None  # noqa: S101, PT018  (who calls this has looked)
        if not job.is_built and not self._is_built(job):
            return self._ask(job, work)
        if (outcome := self._answer(job, work)) is not None:
            return outcome
        return self._ask(job, work)

    def _is_built(self, job: _Job) -> bool:
        path = file_of(job.folder, ANSWER, BUILT)
        if not path.exists():
            return False
        outcome = read_outcome(path)
        if outcome.error is not None:
            self._end_job()
            if isinstance(outcome.error, WardroundError):
                raise outcome.error
            log.error("%s", outcome.error)
            raise RunError("the worker could not begin; the hospital's worker.log tells why")
        job.is_built = True
        return True

    def _answer(self, job: _Job, work: _Work) -> Outcome | None:
        path = file_of(job.folder, ANSWER, work.number)
        if not path.exists():
            return None
        outcome = read_outcome(path)
        path.unlink()
        file_of(job.folder, TAKEN, work.number).unlink(missing_ok=True)
        job.served = work.number
        self._work = None
        return outcome

    def _ask(self, job: _Job, work: _Work) -> Outcome | None:
        """Ask the cluster now and then how the job stands; of one that has ended, return what follows."""
        if time.monotonic() - job.asked < _ASK:
            return None
        job.asked = time.monotonic()
        standing = self._cluster.look(job.name)
        if standing.words != job.standing:
            job.standing = standing.words
            log.info("job %s: %s", job.name, standing.words)
        if not standing.is_over:
            return None
        if (job.is_built or self._is_built(job)) and (outcome := self._answer(job, work)) is not None:
            return outcome  # it came meanwhile
        return self._bury(job, work, standing)

    def _bury(self, job: _Job, work: _Work, standing: Standing) -> Outcome | None:
        """Let a new job do what one has not done that ended, if that may help."""
        unasked = job.is_built and file_of(job.folder, CALL, work.number).exists()
        work.ends += not unasked
        is_unlucky = standing.is_bad_luck or (standing.is_out_of_time and job.served > 0)
        may_help = unasked or (is_unlucky and work.ends == 1)
        if may_help and work.jobs < _JOBS_FOR_A_CALL:
            self._move_on(job, work)
            return None
        when = f"during '{work.kind}'" if job.is_built else "before its worker was ready"
        self._end_job()
        error = RunError(
            f"site '{work.site}': the job on its cluster ended {when} ({standing.words})",
            remedy="The hospital's worker.log tells more; its [device] options may ask for too little.",
        )
        return Outcome(work.id, error=error)

    def _move_on(self, job: _Job, work: _Work) -> None:
        """Give the call to a new job; it is moved, so no second copy of a model is in memory."""
        left = next(
            path for what in (TAKEN, CALL) if (path := file_of(job.folder, what, work.number)).exists()
        )
        log.warning("job %s has ended; its call goes to a new one", job.name)
        job.desk.close()
        new = self._new_job()
        work.number = 1
        work.jobs += 1
        left.rename(file_of(new.folder, CALL, 1))
        _remove(job.folder)

    def _end_job(self) -> None:
        job, self._job, self._work = self._job, None, None
        if job is not None:
            job.desk.close()
            self._cluster.end(job.name)
            _remove(job.folder)

    def _end_those_of_before(self) -> None:
        """End the jobs of a service that was killed; they would end by themselves, later."""
        for folder in self._folder.iterdir():
            if folder.is_dir():
                with suppress(OSError):
                    self._cluster.end((folder / _JOB).read_text(encoding="ascii"))
                _remove(folder)

    def _rotate_log(self) -> None:
        path = self._folder / LOG
        if path.exists() and path.stat().st_size > _LONGEST_LOG:
            path.replace(self._folder / LOG_BEFORE)

    def _beat(self) -> None:
        while not self._end.wait(PULSE_EVERY):
            if (job := self._job) is not None:
                with suppress(
                    OSError
                ):  # its folder has just gone, or the disk is full: the next one may come
                    self._write_pulse(job.folder)

    def _write_pulse(self, folder: Path) -> None:
        replace_file(folder / PULSE, secrets.token_bytes(8), sync=False)


def _remove(folder: Path) -> None:
    """Remove the folder of a job that may still write there: under another name it finds it no more."""
    gone = folder.with_name(f"{folder.name}.gone")
    with suppress(OSError):  # then what is left goes when the service starts again
        folder.replace(gone)
        shutil.rmtree(gone)
