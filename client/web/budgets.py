"""Privacy budgets of a site: of each dataset what was spent, what is left, and which jobs have spent it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.guard.budget import Line, lines
from client.guard.ledger import Ledger
from client.settings.site import load_site
from client.web.jobs import all_jobs
from shared.web.tables import Table

NEAR = 0.2  # share of a budget that is left when a person should know


@dataclass(frozen=True)
class Budget:
    """What a dataset has lost.

    Attributes:
        total: All jobs together.
        jobs: By their own.
    """

    total: Line
    jobs: Sequence[Line]

    @property
    def share_left(self) -> float | None:
        """From 0 to 1; None without a cap."""
        cap, left = self.total.cap, self.total.left
        return None if cap is None or left is None else left / cap.epsilon

    @property
    def is_near_its_end(self) -> bool:
        """Whether a person should think about it."""
        return self.share_left is not None and self.share_left <= NEAR

    @property
    def terms(self) -> str:
        """The cap in words."""
        cap = self.total.cap
        if cap is None:
            return f"no cap; counted at delta {self.total.delta:g}"
        period = "for ever" if cap.days is None else f"within any {cap.days} days"
        return f"epsilon {cap.epsilon:g} at delta {cap.delta:g} for each {cap.unit}, {period}"


def budgets(folder: Path) -> list[Budget]:
    """Return the budgets of a site's folder.

    Raises:
        SiteError: Settings or ledger can't be used, or the ledger is not whole.
    """
    found: list[Budget] = []
    caps = load_site(folder / "site.toml").policy.privacy
    every = list(lines(Ledger.of(folder), caps))
    for total in (line for line in every if line.job is None):
        own = [
            line for line in every if line.job and (line.dataset, line.unit) == (total.dataset, total.unit)
        ]
        found.append(Budget(total, own))
    return found


def spent_by_jobs(budget: Budget, folder: Path) -> Table:
    """Return what each job has spent of a budget."""
    names = {job.digest: job.name for job in all_jobs(folder)}
    rows = [
        (names.get(line.job or "", "unknown"), (line.job or "")[:20], line.rounds, line.spent, _honest(line))
        for line in budget.jobs
    ]
    return Table(
        f"{budget.total.dataset}-{budget.total.unit}",
        f"{budget.total.dataset}: spent by each job",
        ("job", "digest", "rounds", "epsilon", "holds if honest"),
        rows,
        notes=("Epsilons are composed, not added: those of the jobs do not add up to that of the dataset.",),
    )


def _honest(line: Line) -> str:
    return f"{line.honest_sites} sites of each sum" if line.honest_sites > 1 else "this site"
