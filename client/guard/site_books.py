"""All books of a site together: what a worker asks and writes down of its requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from client.guard.cohort import Cohort
from client.guard.gate import Gate
from client.guard.sum_book import SumBook
from client.settings.site import SiteConfig


@dataclass(frozen=True)
class SiteBooks:
    """The books of a site.

    Attributes:
        gate: Decides about requests; has the audit log, the ledger and the jobs.
        cohort: The patients, and what was told about them.
        sums: What was summed.
    """

    gate: Gate
    cohort: Cohort
    sums: SumBook

    @classmethod
    def open(cls, folder: Path, config: SiteConfig) -> Self:
        """Open the books of a site's folder.

        Raises:
            WardroundError: One of them can't be used.
        """
        gate = Gate.open(folder, config)
        return cls(gate, gate.cohort, SumBook(folder / "state.sqlite"))
