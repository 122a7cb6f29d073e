"""The life of a run, simulated or real: who is at work on it, and what it is when they are not any more.

| what happened | status | reason |
| --- | --- | --- |
| it waits at a coordinator until there is room (`server/runs/places.py`) | queued | its place, and why |
| somebody is at work on it | running | |
| the same, and its sites are not there yet | waiting | for whom, and since when |
| it came to its end | finished | |
| an error ended it | failed | the error's words |
| a person stopped it: `wardround stop`, Ctrl-C | stopped | who |
| its process was killed, or SuperLink or coordinator ended and took it along | interrupted | which |

All but a finished run go on from their last checkpoint when they are resumed. "interrupted" is never written:
it is how a run reads that says "running" or "waiting" and that nobody has locked. A run that was waiting
goes on waiting by itself once the coordinator is back (`server/runs/recovery.py`), to the same deadline.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from server.runs.folder import RunFolder
from server.runs.places import BackInQueueError
from shared.clock import utc_text
from shared.errors import WardroundError
from shared.flower import RunStopped
from shared.run_folder import AT_WORK
from shared.text.paths import without_folders


@contextmanager
def at_work(run: RunFolder, *, resume: bool, from_queue: bool = False, **entries: Any) -> Iterator[None]:
    """Keep others off a run while the block executes it, and write down how that ended.

    Args:
        run: The run.
        resume: It goes on; otherwise it begins.
        from_queue: It is begun by the queue of a coordinator, which somebody may have taken it out of.
        entries: For `run.json`, from the beginning.

    Raises:
        RunError: Another process is at work on it.
        RunStopped: It is in the queue no more.
    """
    with run.lock():
        about = run.read_description()
        if from_queue and about.get("status") != "queued":
            raise RunStopped
        goes_on = "goes_on" in (about.get("queue") or {})  # where another of its processes has left off
        run.mend()
        run.describe(**{"status": "running", "reason": None, "remedy": None} | entries)
        try:
            run.note_machine()
            run.keep_room()
            if not goes_on:
                run.event("resumed" if resume else "opened")
            yield
        except BackInQueueError as back:
            put_into_queue(run, about["started"], waits=back.waits, goes_on=True)
            raise
        except (RunStopped, KeyboardInterrupt) as end:
            by = (
                "by Ctrl-C" if isinstance(end, KeyboardInterrupt) else None
            )  # else whoever stopped it says so
            run.end(status="stopped", waiting=None, reason=by)
            raise
        except httpx.TransportError:  # broken off, not failed (see `server.runs.recovery`)
            run.end(reason="Flower's SuperLink ended")
            raise
        except WardroundError as error:
            where = f"{error.where}: " if error.where else ""
            run.end(status="failed", reason=without_folders(f"{where}{error.problem}"), remedy=error.remedy)
            raise
        except Exception as error:
            run.end(status="failed", reason=without_folders(f"{type(error).__name__}: {error}"))
            raise
        run.end(status="finished", finished=utc_text("milliseconds"), models=_digests(run.path))


def put_into_queue(run: RunFolder, since: str, *, waits: bool = False, goes_on: bool = False) -> None:
    """Let a coordinator's queue begin a run, or go on with it; whoever calls this has the run's lock.

    Args:
        run: The run.
        since: Time (ISO 8601, UTC): of two that may begin, the one that waits for longer does.
        waits: For its sites: a process begins that does nothing else.
        goes_on: One of its processes leaves it to the next.
    """
    said = {name: True for name, is_so in (("waits", waits), ("goes_on", goes_on)) if is_so}
    run.describe(status="queued", reason=None, queue={"since": since, **said})


def take_out_of_queue(run: RunFolder, by: str) -> bool:
    """Stop a run that waits in the queue; return whether it did.

    Args:
        run: The run.
        by: Who stopped it.

    Raises:
        RunError: A process is at work on it: it has just begun.
    """
    with run.lock():
        if run.read_description().get("status") != "queued":
            return False
        run.describe(status="stopped", reason=f"by {by}", queue=None, waiting=None)
        return True


def note_failed(run: RunFolder, reason: str) -> None:
    """Mark a run as failed that could not be begun, unless a process has begun it after all.

    Args:
        run: The run.
        reason: As Flower tells it: an error's words, and below them what to do about it.

    Raises:
        RunError: A process is at work on it.
    """
    with run.lock():
        if run.read_description().get("status") == "queued":
            problem, _, remedy = without_folders(reason).partition("\n")
            run.describe(status="failed", reason=problem, remedy=remedy.strip() or None, queue=None)


def note_stopped(run: RunFolder, by: str) -> None:
    """Mark a run as stopped whose process ended because a person asked for it, unless it had come to its end.

    Its process can't always tell: Flower may close the connection under it, or kill it.

    Args:
        run: The run.
        by: Who stopped it.

    Raises:
        RunError: The process is still at work on it.
    """
    with run.lock():
        if run.read_description().get("status") != "finished":
            run.describe(status="stopped", reason=f"by {by}", waiting=None, queue=None)


def note_broken_off(run: RunFolder, reason: str) -> None:
    """Write down why a run was broken off that could not say so itself, unless it goes on.

    Raises:
        RunError: A process is at work on it.
    """
    with run.lock():
        about = run.read_description()
        if about.get("status") in AT_WORK and not about.get("reason"):
            run.end(reason=reason)


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each model, so that a copy can be checked."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }
