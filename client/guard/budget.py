"""What private training has cost at a site, what is left, and what a job would cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.guard.cohort import Cohort
from client.guard.ledger import EVENT, Ledger
from client.guard.ledger_entry import LedgerEntry
from client.guard.release import Release
from client.settings.policy import Cap, PolicyError
from client.settings.site import SiteConfig
from shared.audit.verify import entries, verify
from shared.errors import JobError, SiteError, WardroundError
from shared.job.schema import JobSpec
from shared.pki.certificates import load_key
from shared.privacy.accounting import Steps, epsilon_of, rounds_within

DELTA = 1e-5  # at which the epsilon of a dataset without a cap is told


@dataclass(frozen=True)
class Line:
    """What a dataset has lost, to all jobs or to one.

    Attributes:
        job: Digest; None for all jobs together.
        unit: ``patient`` or ``image``.
        rounds: Recorded; of a line for all jobs those outside of the cap's period too.
        spent: Epsilon at `delta`, in the cap's period.
        cap: The dataset's; None where it has none, or counts by another unit.
        honest_sites: With fewer honest sites in a sum more was spent; 1 where it counts on no other site.
    """

    dataset: str
    job: str | None
    unit: str
    rounds: int
    spent: float
    delta: float
    cap: Cap | None
    honest_sites: int

    @property
    def left(self) -> float | None:
        """What the cap leaves; None for one job, and without a cap."""
        return None if self.cap is None or self.job is not None else max(self.cap.epsilon - self.spent, 0.0)


def lines(ledger: Ledger, caps: dict[str, Cap]) -> Iterator[Line]:
    """Give a line for each dataset that has a cap or has lost something, and one for each of its jobs.

    The lines of the jobs do not add up to that of the dataset: epsilons are composed, not added.

    Raises:
        SiteError: The ledger is not whole, or can't be used.
    """
    accounts = ledger.accounts()
    pairs = {(name, cap.unit) for name, cap in caps.items()}
    for dataset, unit in sorted(pairs | {(account.dataset, account.unit) for account in accounts}):
        cap = caps.get(dataset)
        cap = None if cap is None or cap.unit != unit else cap
        own = [account for account in accounts if (account.dataset, account.unit) == (dataset, unit)]
        total = sum(account.rounds for account in own)
        honest = max((account.honest_sites for account in own), default=1)
        jobs = ((account.job, account.rounds, account.honest_sites) for account in own)
        for job, rounds, trusted in [(None, total, honest), *jobs]:
            history = ledger.history(dataset, unit, days=cap.days if cap else None, job=job)
            spent, delta = _cost(history, cap)
            yield Line(dataset, job, unit, rounds, spent, delta, cap, trusted)


def _cost(history: list[Steps], cap: Cap | None) -> tuple[float, float]:
    if cap is None:
        return epsilon_of(history, DELTA), DELTA
    return epsilon_of(history, cap.delta, cap.accountant), cap.delta


@dataclass(frozen=True)
class Forecast:
    """What a job would cost here.

    Attributes:
        units: Patients or images to train on, rounded.
        steps: Of one round.
        job_epsilon: Of all its rounds, at its own delta.
        spent: What the dataset has lost so far, at the cap's delta, in its period.
        after: What it will have lost then.
        fit: Rounds that fit under the cap; None without a cap.
    """

    units: int
    steps: Steps
    job_epsilon: float
    spent: float
    after: float
    cap: Cap | None
    fit: int | None


def forecast(ledger: Ledger, cohort: Cohort | None, config: SiteConfig, job: JobSpec) -> Forecast:
    """Say before a run what it would cost; nothing is recorded, and no image is read.

    Raises:
        JobError: The job does not train privately.
        WardroundError: The policy refuses it, or its data or the ledger can't be used.
    """
    from client.guard.site_cohort import SiteCohort  # noqa: PLC0415  (with PyTorch and readers of images)

    config.admit(job)
    if job.privacy.mechanism != "dp-sgd":
        raise JobError("asks for no differential privacy: the ledger does not count it", where=job.job.name)
    own = SiteCohort(config, cohort)
    data = own.load(job)
    steps, rounds = own.private_steps(job, data), job.job.rounds
    every = Steps(steps.noise_multiplier, steps.sample_rate, steps.steps * rounds)
    cap = config.policy.privacy.get(job.job.dataset)
    ledger.check()
    history = ledger.history(job.job.dataset, job.privacy.unit, days=cap.days if cap else None)
    fit = None
    if cap is not None:
        limits = {"epsilon": cap.epsilon, "delta": cap.delta}
        fit = rounds_within(history, steps, **limits, accountant=cap.accountant, most=rounds)
    return Forecast(
        Release.of(config.policy, job).units(data, job),
        steps,
        epsilon_of([every], job.privacy.delta),
        _cost(history, cap)[0],
        _cost([*history, every], cap)[0],
        cap,
        fit,
    )


def audited(folder: Path) -> list[LedgerEntry]:
    """Return what a site's audit log has of its ledger, once the log is found to be whole.

    Args:
        folder: The site's.

    Raises:
        SiteError: It is not.
    """
    log = folder / "audit"
    problems = verify(log, load_key(folder / "keys" / "site.key").public_key())
    if problems:
        raise SiteError(
            f"is not whole: {problems[0]}", where=log, remedy="See `wardround client audit verify`."
        )
    return [LedgerEntry.read(entry.fields) for entry in entries(log) if entry.event == EVENT]


def why_no_round(found: Forecast | WardroundError, job: JobSpec) -> str:
    """Return why a site would train no round of a private job, whatever a person decides.

    Args:
        found: What `forecast` returned or raised.
        job: The job.

    Returns:
        Nothing where rounds would be trained, or where nobody can say.
    """
    if isinstance(found, Forecast):
        if found.fit == 0:
            return f"not enough is left of the privacy budget of '{job.job.dataset}' for one"
        return ""
    return found.problem if isinstance(found, PolicyError) else ""
