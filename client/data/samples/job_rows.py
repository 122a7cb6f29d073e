"""The rows of a manifest for one job: the same for all sites that share it, so read once for all."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from client.data.kinds import Kind, kinds_of, written_kinds_of
from client.data.manifest.rows import Manifest, Record, require, scan_manifest
from client.data.manifest.splits import Split
from shared.job.schema import JobSpec
from shared.recent import Recent
from shared.tasks.fields import image_columns_of, may_lack_images, may_lack_masks

_AT_HAND = 4


@dataclass(frozen=True)
class JobRows:
    """The rows of a manifest, each with its side.

    Attributes:
        manifest: Has the rows of all sites.
        sides: 'train', 'val' or 'test', for each row.
        kinds: Of the job's fields whose columns are there.
    """

    manifest: Manifest
    sides: list[str]
    kinds: Mapping[str, Kind]

    @classmethod
    def read(cls, path: Path, job: JobSpec, split: Split) -> Self:
        """Read a manifest for a job.

        Args:
            path: The CSV, or the folder that holds it.
            job: What the rows are for.
            split: Says on which side a patient is.

        Raises:
            DataError: It can't be used, or a patient is on two sides.
            JobError: The job names a fold that the split has not.
        """
        found = scan_manifest(
            path,
            image_columns_of(job),
            [
                column
                for kind in written_kinds_of(job).values()
                if kind.field.required or kind.field.role == "target"
                for column in kind.columns
            ],
            may_lack_images=may_lack_images(job),
            may_lack_masks=may_lack_masks(job),
        )
        require(found.problems)
        pairing = job.task.pairing(job.data)
        filled = pairing.columns if pairing else {}
        columns = {*found.columns, *(new for new, old in filled.items() if old in found.columns)}
        kinds = {name: kind for name, kind in kinds_of(job).items() if columns.issuperset(kind.columns)}
        return cls(found, split.sides(found.records, job.data.fold, job.data.fold_draw), kinds)

    def of_site(self, value: str | None) -> list[tuple[Record, str]]:
        """Return the rows of one site, each with its side; of None all.

        Raises:
            DataError: There is no column `site`, or no row with this value in it.
        """
        if value is None:
            return list(zip(self.manifest.records, self.sides, strict=True))
        return [(record, self._sides[record.row]) for record in self.manifest.of_site(value).records]

    @cached_property
    def _sides(self) -> dict[int, str]:
        return {record.row: side for record, side in zip(self.manifest.records, self.sides, strict=True)}


class ManifestsAtHand:
    """Manifests that the sites of a simulation share, as they were when the first site asked.

    Of a thousand sites each would read the rows of all.
    """

    def __init__(self) -> None:
        self._kept: Recent[tuple[Path, str, Split], JobRows] = Recent(_AT_HAND)

    def rows(self, path: Path, job: JobSpec, split: Split) -> JobRows:
        """Return what `JobRows.read` gives."""
        key = (path, job.digest(), split)
        if key not in self._kept:
            self._kept[key] = JobRows.read(path, job, split)
        return self._kept[key]
