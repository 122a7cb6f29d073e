"""What a run keeps of the test at its end."""

from collections.abc import Sequence

from server.report.comparison import from_counts
from server.rounds.federation import Member
from server.rounds.judging import Judged
from server.runs.folder import RunFolder


def note_test(run: RunFolder, judged: Judged, members: Sequence[Member], round_: int) -> None:
    """Write into the run's folder who was asked, who answered, and what came out beside chance.

    Args:
        run: The run.
        judged: What the sites answered.
        members: The sites that were asked.
        round_: The last one of the run.
    """
    names = [member.name for member in members]
    run.note_part(round=round_, test=True, judges=names, judged=sorted(judged.sites))
    run.keep_test(judged.kept)
    patients = {member.name: member.description.patients for member in members}
    run.describe(
        test={"federation": judged.federation, "sites": judged.sites, "examples": judged.examples},
        comparison=from_counts(run.job, judged, patients),
    )
