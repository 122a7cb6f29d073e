"""One line of a site's ledger: a round of private training, chained to the one before."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any, Self

from shared.job.schema import JobSpec
from shared.privacy.accounting import Steps, epsilon_of

FIRST = "0" * 64  # the chain before the first entry


@dataclass(frozen=True)
class Promise:
    """What a job says that all its rounds together cost at most."""

    epsilon: float
    delta: float

    @classmethod
    def of(cls, job: JobSpec, steps: Steps) -> Self:
        """Return the promise of a job whose rounds have these steps each at this site."""
        privacy = job.privacy
        if privacy.epsilon is not None:
            return cls(privacy.epsilon, privacy.delta)
        every = replace(steps, steps=steps.steps * job.job.rounds)
        return cls(epsilon_of([every], privacy.delta), privacy.delta)


@dataclass(frozen=True)
class Round:
    """A round of private training, before it is recorded.

    Attributes:
        dataset: Whose patients it costs.
        job: Digest.
        run: Flower's number of it.
        round: Of the run.
        unit: ``patient`` or ``image``: whom its steps protect.
        steps: What is done to them.
        honest_sites: How many sites' shares make up the noise; 1 where the site adds all of it itself.
        promise: Of the job; None binds it to the dataset's cap alone.
    """

    dataset: str
    job: str
    run: str
    round: int
    unit: str
    steps: Steps
    honest_sites: int = 1
    promise: Promise | None = None

    @classmethod
    def of(cls, job: JobSpec, run: str, round_: int, steps: Steps) -> Self:
        """Return a round of a job."""
        honest = job.privacy.honest_sites or 1
        promise = Promise.of(job, steps)
        return cls(job.job.dataset, job.digest(), run, round_, job.privacy.unit, steps, honest, promise)


@dataclass(frozen=True)
class LedgerEntry:
    """A round as it stands in the ledger, and in the audit log.

    Attributes:
        sequence: Counts from 1.
        moment: UTC, ISO 8601 with milliseconds; never before that of the entry before.
        chain: SHA-256 over all of the above and the entry before's, in hexadecimal.
    """

    sequence: int
    moment: str
    dataset: str
    job: str
    run: str
    round: int
    unit: str
    noise_multiplier: float
    sample_rate: float
    steps: int
    honest_sites: int
    chain: str = ""

    @classmethod
    def after(cls, last: "LedgerEntry | None", moment: str, asked: Round) -> "LedgerEntry":
        """Return the entry that records a round behind the last one."""
        sequence, previous = (1, FIRST) if last is None else (last.sequence + 1, last.chain)
        steps = asked.steps
        content = cls(
            sequence,
            moment,
            asked.dataset,
            asked.job,
            asked.run,
            asked.round,
            asked.unit,
            steps.noise_multiplier,
            steps.sample_rate,
            steps.steps,
            asked.honest_sites,
        )
        return replace(content, chain=content.chained(previous))

    @classmethod
    def read(cls, values: dict[str, Any]) -> "LedgerEntry":
        """Return the entry in a row, or in the fields of an audit entry.

        Raises:
            KeyError: A field is missing.
        """
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def chained(self, previous: str) -> str:
        """Return the chain that the entry should have."""
        content = [previous, *astuple(self)[:-1]]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def record(self) -> dict[str, object]:
        """Return the fields of its audit entry."""
        return asdict(self)


def break_in(entries: Iterable[LedgerEntry], sequence: int, chain: str) -> int | None:
    """Return the number of the first entry that does not follow the one before, or None.

    Args:
        entries: In order.
        sequence: Number of the entry before the first of them; 0 where there is none.
        chain: Of that entry.
    """
    for entry in entries:
        if entry.sequence != sequence + 1 or entry.chain != entry.chained(chain):
            return sequence + 1
        sequence, chain = entry.sequence, entry.chain
    return None
