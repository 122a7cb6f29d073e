"""Jobs of Slurm, by its commands, which know all about clusters that a library would have to learn."""

import logging
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from client.workers.cluster import Standing
from shared.errors import SiteError

log = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds for an answer of Slurm
_OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
}
_BAD_LUCK = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "REVOKED"}
_OUT_OF_TIME = {"TIMEOUT", "DEADLINE"}
_UNKNOWN = "Invalid job id"  # what Slurm says of a job that it has forgotten
_JOB = re.compile(r"\d+")
# What the job finds of the service's environment: no proxy's password, no token.
_EXPORTED = "PATH"


class Slurm:
    """Slurm, as it is reached from this machine by `sbatch`, `squeue` and `scancel`.

    Args:
        options: Of `sbatch`, each a word: partition, account, GPUs, time.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._options = tuple(options)

    def submit(self, command: Sequence[str], environment: dict[str, str], log: Path) -> str:
        """See `Cluster`."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        script = "\n".join(["#!/bin/sh", "umask 077", *exports, f"exec {shlex.join(command)}", ""])
        output = str(log.absolute()).replace("%", "%%")
        asked = [f"--output={output}", "--open-mode=append", "--parsable", "--no-requeue"]
        said = self._sbatch([*asked, f"--export={_EXPORTED}", "--job-name=wardround"], script).stdout
        if (found := _JOB.match(said)) is None:
            raise SiteError("Slurm's answer is not understood", remedy="wardround client check")
        return found.group()

    def look(self, job: str) -> Standing:
        """See `Cluster`."""
        try:
            ended = _run(["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%r"])
        except (OSError, subprocess.TimeoutExpired) as error:
            return Standing(f"Slurm does not answer ({error})")
        if ended.returncode:
            if _UNKNOWN in ended.stderr:
                return Standing("Slurm knows nothing of it any more", is_over=True)
            return Standing(f"Slurm does not answer ({ended.stderr.strip()})")
        state, _, reason = ended.stdout.strip().partition("|")
        if not state:
            return Standing("Slurm knows nothing of it any more", is_over=True)
        words = state if reason in {"", "None", state} else f"{state}, {reason}"
        return Standing(words, state in _OVER, state in _BAD_LUCK, state in _OUT_OF_TIME)

    def end(self, job: str) -> None:
        """See `Cluster`."""
        try:
            ended = _run(["scancel", "--quiet", job])
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("job %s can't be ended (%s); without the service it ends by itself", job, error)
        else:
            if ended.returncode:
                log.warning("job %s is not ended by Slurm: %s", job, ended.stderr.strip())

    def check(self) -> str:
        """See `Cluster`."""
        said = self._sbatch(["--test-only"], "#!/bin/sh\n")
        start = re.search(r"to start at \S+", said.stderr)
        return f"Slurm would take a job{f', {start.group()}' if start else ''}"

    def _sbatch(self, arguments: list[str], script: str) -> subprocess.CompletedProcess[str]:
        try:
            ended = _run(["sbatch", *arguments, *self._options], script)
        except FileNotFoundError:
            remedy = "Install Slurm's commands on this machine, and its settings and key (munge)."
            raise SiteError("there is no sbatch, with which Slurm is asked", remedy=remedy) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("sbatch: %s", error)
            raise SiteError("Slurm does not answer", remedy="sinfo says how it is.") from None
        if ended.returncode:  # its words name accounts and partitions, which stay here
            log.warning("sbatch %s: %s", shlex.join(self._options), ended.stderr.strip())
            remedy = "The site's log has its words; see [device] options in site.toml."
            raise SiteError("Slurm does not take the job", remedy=remedy)
        return ended


def _run(command: list[str], script: str | None = None) -> subprocess.CompletedProcess[str]:
    # SBATCH_* and SLURM_* of whoever started the service would be options, too.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SBATCH_", "SLURM_JOB"))
    }
    return subprocess.run(  # noqa: S603  (the hospital's own options, and no shell)
        command,
        input=script if script is not None else "",
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
        env=environment,
    )
