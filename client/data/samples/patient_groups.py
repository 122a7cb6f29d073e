"""Which patients are in which group of a job, by a column of the manifest."""

from collections.abc import Sequence

from client.data.manifest.rows import Record
from shared.job.schema import JobSpec
from shared.metrics.group_options import groups_of


def patient_groups(job: JobSpec, records: Sequence[Record]) -> dict[str, frozenset[str]]:
    """Return the patients of each group, by its name.

    A patient whose rows say different things, or nothing that the job names, is in no group of the column.

    Args:
        job: Asks for the groups.
        records: Of the test.
    """
    cells: dict[tuple[str, str], set[str]] = {}
    for record in records:
        for own in job.evaluation.groups:
            cells.setdefault((own.column, record.patient), set()).add(
                record.cells.get(own.column, "").strip()
            )
    found: dict[str, frozenset[str]] = {}
    for own, place, name in groups_of(job):
        found[name] = frozenset(
            patient
            for (column, patient), said in cells.items()
            if column == own.column and {own.place_of(cell) for cell in said} == {place}
        )
    return found
