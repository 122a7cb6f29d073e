"""Runs whose processes were killed, as the process that forked them sees it."""

import signal
from pathlib import Path

from server.runs.folder import RunFolder
from server.runs.life import note_broken_off
from shared.run_folder import ABOUT, description_of

_COUNTS = Path("/proc/vmstat")


def _killed_for_memory() -> int:
    """Return how often the kernel has ended a process for want of memory; 0 where it does not tell."""
    try:
        lines = _COUNTS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


_known = _killed_for_memory()  # when this process began


def how_it_ended(code: int) -> str:
    """Return how a process ended, in words.

    Args:
        code: Its exit code; below 0, the signal that killed it.
    """
    global _known
    if code >= 0:
        return f"its process ended with exit code {code}"
    before, _known = _known, _killed_for_memory()
    if -code == signal.SIGKILL and _known > before:
        return "out of memory: the kernel killed its process"
    return f"its process was killed by {signal.Signals(-code).name}"


def note_killed(runs: Path, pid: int, reason: str) -> None:
    """Write into its folder how the process of a run ended, where the run has not said so itself.

    Args:
        runs: Folder of the run folders.
        pid: Of the process that has ended.
        reason: How.

    Raises:
        RunError: A folder can't be read or written.
    """
    for path in runs.glob(f"*/{ABOUT}"):
        if description_of(path.parent).get("process") == pid:
            note_broken_off(RunFolder.read(path.parent), reason)
