"""What a job needs of all sites' training patients, added up once, before the first round."""

from collections.abc import Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict

from server.rounds.federation import Federation, Member
from server.rounds.missing_sites import MissingSitesError
from server.rounds.secure_sum import Plan, SecureSum
from server.rounds.statistic_checks import check_statistics, within_share
from server.runs.events import Event
from shared.errors import RunError
from shared.flower import query_message
from shared.job.schema import JobSpec
from shared.metrics.statistics import Numbers, added_up, lacking, unpacked
from shared.privacy.secagg import wide
from shared.privacy.secagg.errors import SecureAggregationError
from shared.privacy.secagg.records import STATISTICS
from shared.wire import messages
from shared.wire.statistics_message import read_statistics


@dataclass(frozen=True)
class FirstSums:
    """What was added up.

    Attributes:
        total: The statistics over all sites.
        sites: Whose they are, by name.
        parts: Of each of these sites; nothing where a masked sum hides them.
    """

    total: dict[str, Numbers]
    sites: list[str]
    parts: Mapping[str, Mapping[str, Numbers]]


def sum_up(federation: Federation, job: JobSpec) -> FirstSums:
    """Return the statistics of a job over all sites that train.

    Under secure aggregation they are of all of these sites or of none: the sites remember over whom they were
    summed, and refuse a sum over one more or fewer.

    Raises:
        RunError: Too few sites answer, or too few patients are behind a figure of all of them.
    """
    specs = job.statistics()
    if not specs:
        return FirstSums({}, [], {})
    question = messages.describe_request(job.canonical(), federation.researcher, federation.project)
    members = federation.summed_sites
    asked = [query_message(messages.STATISTICS, question, member.node_id) for member in members]
    sum_of = _masked if job.privacy.secure_aggregation else _open
    found = sum_of(federation, job, asked)
    missing = [] if job.job.describes else list(lacking(specs, found.total))
    if missing:
        raise RunError(
            f"too few patients of each site have {', '.join(missing)}: nothing of it leaves them",
            where="[task]",
            remedy="Leave the column out, or state in the job what is publicly known of it.",
        )
    return found


def _open(federation: Federation, job: JobSpec, asked: list[Message]) -> FirstSums:
    specs = job.statistics()

    def check(member: Member, content: RecordDict) -> dict[str, Numbers]:
        part = unpacked(specs, read_statistics(content))
        check_statistics(part, specs, member.description, job)
        return part

    answers = federation.exchange(asked, 0, messages.STATISTICS, check)
    parts = {reply.member.name: part for reply, part in answers}
    if len(parts) < job.strategy.min_sites:
        raise MissingSitesError(
            f"{len(parts)} sites returned the statistics of their patients, the job needs "
            f"{job.strategy.min_sites}",
            where="[strategy] min_sites",
        )
    # A share bounds who sets the scale of a training; what is to be known of a large site is all of it.
    bounded = parts if job.job.describes else within_share(specs, parts, job.strategy.largest_share)
    names = sorted(bounded)
    return FirstSums(added_up(specs, [bounded[name] for name in names]), names, bounded)


def _masked(federation: Federation, job: JobSpec, asked: list[Message]) -> FirstSums:
    specs = job.statistics()
    plan = Plan(job, 0, STATISTICS, wide.WORDS * sum(spec.size for spec in specs), 0)
    secure = SecureSum(federation, plan, asked, _unheard)
    try:
        rows = secure.gather()
        total = unpacked(specs, wide.decode(secure.server.total()))
        return FirstSums(total, sorted(row["site"] for row in rows), {})
    except (SecureAggregationError, ValueError) as error:
        problem = error.problem if isinstance(error, SecureAggregationError) else str(error)
        raise MissingSitesError(
            f"secure aggregation: {problem}",
            where="before round 1",
            remedy="Nothing of a single site was revealed. Once the sites are back, start the run again.",
        ) from None


def _unheard(_: Event) -> None:
    """Tell nobody which site is done: there is no round yet."""
