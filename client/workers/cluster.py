"""What a cluster is asked for by a site's service: a job, how it stands, its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Standing:
    """How a job stands.

    Attributes:
        words: As the cluster has them, such as PENDING (Resources); they name no machine and nobody.
        is_over: It has ended, or is not known.
        is_bad_luck: It was ended for the sake of others, or with its machine: it may be asked for again.
        is_out_of_time: It has used up its time.
    """

    words: str
    is_over: bool = False
    is_bad_luck: bool = False
    is_out_of_time: bool = False


class Cluster(Protocol):
    """Runs commands where the GPUs are."""

    def submit(self, command: Sequence[str], environment: dict[str, str], log: Path) -> str:
        """Ask for a job that runs a command once.

        Args:
            command: Program and arguments; no shell reads them.
            environment: What the command finds there, beside what the cluster gives.
            log: File to which it appends what it says.

        Returns:
            The job's name.

        Raises:
            SiteError: The cluster takes no such job.
        """

    def look(self, job: str) -> Standing:
        """Return how a job stands; who does not answer says nothing of the job."""

    def end(self, job: str) -> None:
        """End a job, or take it out of the queue; one that has ended is left alone."""

    def check(self) -> str:
        """Return that such a job would be taken, in words.

        Raises:
            SiteError: It would not.
        """
