"""Where a hospital decides about every request and writes down what it decided and sent."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from client.guard import log_proof
from client.guard.cohort import Cohort
from client.guard.job_book import MOST_WAITING, JobBook
from client.guard.ledger import LEDGER, Ledger
from client.guard.ledger_entry import Round
from client.guard.looks import asked as what_is_asked
from client.guard.looks import preparation, read_from, reading, trained_on
from client.guard.served_requests import Asked, Carried
from client.guard.statement import statement_from
from client.guard.waiting_jobs import how_to_approve
from client.settings.policy import BudgetError, PolicyError, check_project
from client.settings.site import SiteConfig
from client.settings.states import (
    AwaitsApprovalError,
    DeniedError,
    UsedUpError,
    check_moment,
)
from shared.audit.fields import Value
from shared.audit.log import AuditLog
from shared.audit.log_heads import Grown
from shared.job.schema import JobSpec
from shared.passport.documents import STATEMENT
from shared.passport.envelope import Envelope
from shared.pki.key_file import KeyFile
from shared.privacy.accounting import Steps
from shared.privacy.secagg.identity import Identity
from shared.privacy.secagg.records import STATISTICS, TRAIN
from shared.wire.sent import Sent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Visit:
    """A request of the coordinator, as far as the policy looks at it.

    Attributes:
        phase: ``describe``, ``statistics``, ``train``, ``evaluate``, ``statement`` or a stage of secure
            aggregation.
        round: 0 for a description, a statement and statistics, their stages too.
        split: For an evaluation.
        researcher: As the coordinator names them; empty where it names nobody.
        run: Flower's number of the run.
        known_head: Of the site's audit log, as the coordinator knows it; empty where it knows none.
        project: Of the run, as the coordinator names it.
        run_name: As the coordinator names it; empty for a description.
    """

    job: JobSpec
    phase: str
    round: int
    split: str
    researcher: str
    run: int
    known_head: str = ""
    project: str = ""
    run_name: str = ""

    def fields(self) -> dict[str, object]:
        """Return what an audit entry says of the visit."""
        fields: dict[str, object] = {"job": self.job.digest(), "phase": self.phase, "round": self.round}
        optional = {"split": self.split if self.phase == "evaluate" else "", "researcher": self.researcher}
        return fields | {name: value for name, value in optional.items() if value}

    @property
    def summed(self) -> str:
        """What is summed where the request is part of a secure sum: one of `secagg.records.PHASES`."""
        return self.split or (TRAIN if self.round else STATISTICS)


def _local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class Gate:
    """Decides about requests by what depends on people and the clock, and keeps the audit log.

    Args:
        config: The site's; its policy is asked.
        book: The jobs seen, with what was decided.
        audit: The site's log.
        ledger: What private training has cost.
        clock: Gives the local time.
        cohort: The patients, and what was told about them.
        identity: Gives the key and certificate of now, which sign statements.
        how_to_approve: Gives the command that a person types, for a job's digest.
    """

    def __init__(
        self,
        config: SiteConfig,
        book: JobBook,
        audit: AuditLog,
        ledger: Ledger,
        clock: Callable[[], datetime] = _local_time,
        *,
        cohort: Cohort,
        identity: Callable[[], Identity],
        how_to_approve: Callable[[str], str] = "wardround client approve {}".format,
    ) -> None:
        self._config = config
        self._how_to_approve = how_to_approve
        self._book = book
        self._audit = audit
        self._ledger = ledger
        self.cohort = cohort
        self._identity = identity
        self._clock = clock
        self._refused_looks: dict[str, str] = {}  # of each job, why it was refused last

    @classmethod
    def open(cls, folder: Path, config: SiteConfig) -> Self:
        """Open the gate of a site's folder: its SQLite files, `audit/` and `keys/`.

        Raises:
            WardroundError: One of them can't be used.
        """
        audit = AuditLog.open(folder / "audit", KeyFile(folder / "keys" / "site.key"))
        ledger = Ledger(folder / LEDGER, audit)
        try:
            ledger.check()
        except BudgetError as error:  # what is not private can go on
            _log.error("no private training: %s", error)
        book, cohort = JobBook(folder / "state.sqlite"), Cohort.open(folder)
        command = partial(how_to_approve, folder=folder)
        identity = partial(Identity.load, config.name, folder / "keys")
        return cls(config, book, audit, ledger, cohort=cohort, identity=identity, how_to_approve=command)

    def admit(self, visit: Visit) -> None:
        """Let a request in, or not, by what its head says; nothing is counted yet.

        Raises:
            PolicyError: A rule refuses it.
            CutLogError: The site's audit log is not the one that the coordinator knows.
        """
        policy, site = self._config.policy, self._config.name
        log_proof.check(self._audit, visit.known_head, site)
        now = self._clock()
        check_moment(policy, visit.researcher, now, site)
        check_project(policy, visit.project, site)
        digest = visit.job.digest()
        decision, new = self._book.meet(visit.job, visit.researcher)
        if new:
            who = {"researcher": visit.researcher} if visit.researcher else {}
            self._audit.append("job-seen", job=digest, name=visit.job.job.name, **who)
            if policy.approval == "manual":
                _log.warning(
                    "job '%s' waits for approval: %s", visit.job.job.name, self._how_to_approve(digest)
                )
        if decision == "denied":
            raise DeniedError("policy.approval: the hospital has denied this job", where=site)
        if decision == "waiting" and policy.approval == "manual":
            raise AwaitsApprovalError(
                "policy.approval: the job waits until the hospital approves it",
                where=site,
                remedy=f"At the hospital: wardround client approve {digest}",
            )
        if (asked := self._asked(visit)) is not None:
            self._book.served.check(asked, site)

    def take(self, visit: Visit, carried: Carried) -> None:
        """Take a training or an evaluation on, for the model that came with it.

        The day's trainings and evaluations are counted here: one that fails counts too.

        Args:
            visit: Was admitted.
            carried: By the message.

        Raises:
            PolicyError: Another model or other statistics came before, or the day's requests are used up.
        """
        policy, site, today = self._config.policy, self._config.name, self._clock().date()
        asked = self._asked(visit)
        assert asked is not None  # noqa: S101 (of these two phases it is not)
        # Whoever was not drawn has not seen the round's model; one that nobody trains is known by its digest.
        drawn = visit.job.strategy.fraction < 1 or not visit.job.trains
        if self._book.served.believe_statistics(asked, carried, site):
            self._audit.append("statistics-taken", job=asked.job, sha256=carried.statistics)
        self._book.served.believe(asked, carried, unseen_may_be_tested=drawn, site=site)
        if visit.phase == "train":
            if not self._book.take_round(asked.job, today, policy.rounds_per_day):
                most = policy.rounds_per_day
                raise UsedUpError(f"policy.rounds_per_day: today's {most} rounds are used up", where=site)
        elif not self._book.served.take_evaluation(today, policy.evaluations_per_day):
            most = policy.evaluations_per_day
            problem = f"policy.evaluations_per_day: today's {most} evaluations are used up"
            raise UsedUpError(problem, where=site)
        elif not visit.job.trains:
            self._take_look(visit, carried)

    def _take_look(self, visit: Visit, carried: Carried) -> None:
        """Count a model that is judged; of a job that no person has approved there are few over all jobs."""
        most, dataset = self._config.policy.max_judged_models, self._config.dataset(visit.job.job.dataset)
        look = " ".join((what_is_asked(visit.job), carried.model, carried.edges))
        problem = (
            f"policy.max_judged_models: {most} models were judged on these patients, and for another one"
        )
        self._count_look(visit, dataset.collection, look, most, problem)

    def take_statistics(self, visit: Visit) -> None:
        """Count a further way in which images are prepared before sums of them are told.

        Raises:
            PolicyError: There were enough, and no person has approved the job.
        """
        if (how := preparation(visit.job)) is None:
            return
        most, dataset = self._config.policy.max_described, self._config.dataset(visit.job.job.dataset)
        problem = (
            f"policy.max_described: images of these patients were described as {most} jobs prepare them, and "
            "for another way"
        )
        self._count_look(visit, trained_on(dataset), how, most, problem)

    def take_reading(self, visit: Visit) -> None:
        """Count a further way in which rows are read, before any is.

        Raises:
            PolicyError: There were enough, and no person has approved the job.
        """
        most, dataset = self._config.policy.max_readings, self._config.dataset(visit.job.job.dataset)
        problem = (
            f"policy.max_readings: rows of these patients were read in {most} ways (columns, classes), and "
            "for another way"
        )
        self._count_look(visit, read_from(dataset), reading(visit.job), most, problem)

    def _count_look(self, visit: Visit, patients: str, look: str, most: int, problem: str) -> None:
        decision, _ = self._book.meet(visit.job, visit.researcher)
        if not self._book.served.take_look(patients, look, None if decision == "approved" else most):
            raise PolicyError(
                f"{problem} a person has to approve the job",
                where=self._config.name,
                remedy=f"At the hospital: {self._how_to_approve(visit.job.digest())}",
            )

    def count(self, visit: Visit) -> None:
        """Count a request that was answered, with an error too: that also says something of the data.

        Raises:
            PolicyError: It was answered often enough meanwhile.
        """
        if (asked := self._asked(visit)) is not None:
            self._book.served.count(asked, self._config.name)

    def _asked(self, visit: Visit) -> Asked | None:
        """Return the request as it is counted; None for a stage of secure aggregation, which is not."""
        job = visit.job.digest()
        if visit.phase in ("describe", "statement"):
            return Asked(job, visit.phase, self._clock().toordinal())
        if visit.phase in ("train", "statistics"):
            return Asked(job, visit.phase, visit.round)
        return Asked(job, visit.phase, visit.round, visit.split) if visit.phase == "evaluate" else None

    def reserve(self, visit: Visit, steps: Steps) -> float:
        """Record what a round of private training will cost, before anything of it is done.

        A round that fails afterwards, or that is asked for again, has cost that too.

        Returns:
            The epsilon that the dataset has lost with it.

        Raises:
            BudgetError: It would pass the cap, or the ledger is not to be relied on.
            SiteError: The ledger can't be written.
        """
        job = visit.job
        cap = self._config.policy.privacy.get(job.job.dataset)
        asked = Round.of(job, str(visit.run), visit.round, steps)
        try:
            return self._ledger.reserve(asked, cap, job.privacy.delta)
        except BudgetError as error:
            raise BudgetError(error.problem, where=self._config.name, remedy=error.remedy) from None

    def refused(self, visit: Visit, rule: str, reason: str) -> None:
        """Write down that the policy refused a request."""
        fields = visit.fields()
        fields.pop("split", None)
        self._audit.append("request-refused", rule=rule, reason=reason, **fields)

    def refused_look(self, visit: Visit, rule: str, reason: str, state: str) -> None:
        """Write down that a description was refused, once for each reason: a coordinator looks often.

        Args:
            visit: Was refused.
            rule: By this rule.
            reason: In words.
            state: In which the site is, whose reason says more than that, such as the time; otherwise empty.
        """
        known, job = self._refused_looks, visit.job.digest()
        why = state or reason
        if known.get(job) == why:
            return
        self.refused(visit, rule, reason)
        known[job] = why
        while len(known) > MOST_WAITING:
            del known[next(iter(known))]

    def unmasked(self, visit: Visit, sites: int) -> None:
        """Write down that shares are about to leave that unmask a sum, and of how many sites."""
        self._audit.append("sum-unmasked", job=visit.job.digest(), round=visit.round, sites=sites)

    def failed(self, visit: Visit | None, phase: str, reason: str) -> None:
        """Write down that a request could not be served."""
        fields = {"phase": phase} if visit is None else visit.fields()
        fields.pop("split", None)
        self._audit.append("request-failed", reason=reason, **fields)

    def signed(self, visit: Visit, layout: str) -> str:
        """Return what the site signs about its part in a run, written from its own log, and write that down.

        Args:
            visit: Was admitted, so the job was approved here.
            layout: Digest of the layout of the job's packed model.

        Raises:
            PolicyError: The site has taken no part in the run.
            AuditError: The log can't be read or written, or an entry of the run was changed.
            CredentialError: The certificate does not belong to the key.
        """
        identity = self._identity()
        statement = statement_from(self._audit.folder, visit.job, visit.run_name, layout, self._config.name)
        envelope = Envelope.seal(STATEMENT, statement, identity.key, identity.certificate).text()
        digest = hashlib.sha256(envelope.encode()).hexdigest()
        who = {"researcher": visit.researcher} if visit.researcher else {}
        job = visit.job.digest()
        self._audit.append("statement-signed", job=job, run=visit.run_name, sha256=digest, **who)
        return envelope

    def sent(self, visit: Visit, sent: Sent, model: str = "") -> Grown:
        """Write down what is about to leave.

        Args:
            visit: Was taken on.
            sent: What leaves.
            model: SHA-256 of the model that came with the request; empty where none did.

        Returns:
            The head of the log, which goes with the reply, and the proof that it follows from the known one.

        Raises:
            CutLogError: It does not follow.
        """
        self._refused_looks.pop(visit.job.digest(), None)
        texts = {"sha256": sent.sha256, "model": model, "run": visit.run_name}
        known: dict[str, Value] = {name: text for name, text in texts.items() if text}
        if sent.examples is not None:
            known["examples"] = sent.examples
        entry = self._audit.append("reply-sent", bytes=sent.bytes, **known, **visit.fields())
        return log_proof.prove(self._audit, visit.known_head, entry.head, self._config.name)
