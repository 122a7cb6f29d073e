"""Which patients of a dataset wait to take part: a figure about so few more would tell of them alone."""

from dataclasses import dataclass

from client.data.manifest.rows import SPLITS, scan_manifest
from client.data.manifest.splits import SplitTable
from client.guard.cohort import Cohort
from client.settings.site import SiteConfig


@dataclass(frozen=True)
class Standing:
    """How a dataset stands.

    Attributes:
        shares: Its split.
        since: When that was fixed; empty where it was not used yet.
        least: Patients by whom the groups behind two figures differ.
        waiting: Side -> new patients who wait.
        refused: Sides of which nothing is told, as patients have left.
    """

    shares: SplitTable
    since: str
    least: int
    waiting: dict[str, int]
    refused: list[str]


def standing(config: SiteConfig, cohort: Cohort, name: str) -> Standing:
    """Look at a dataset as a job without a fold would find it; no image is read.

    Raises:
        WardroundError: The manifest can't be used, or the split has changed.
    """
    table, least = config.dataset(name), config.policy.min_group
    split = cohort.split(name, table.split, table.collection)
    found = scan_manifest(table.manifest, ())
    own = found.of_site(table.site) if table.site is not None else found
    rows = {record.row for record in own.records}
    waiting, refused = {}, []
    pairs = list(zip(found.records, split.sides(found.records), strict=True))
    for side in SPLITS:
        patients = frozenset(
            record.patient for record, where in pairs if where == side and record.row in rows
        )
        admitted = cohort.admitted(name, side, patients, least)
        if len(admitted) < len(patients):
            waiting[side] = len(patients) - len(admitted)
        elif not cohort.may_tell(name, side, admitted, least):
            refused.append(side)
    return Standing(split.shares, cohort.since(name), least, waiting, refused)
