"""Looking at a dataset while somebody waits at the page: every file is read, a few images are drawn.

The pictures stay in this process's memory and go to nobody but the page's one log-in.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from client.data.check.problems import shown_by_kind
from client.data.manifest.rows import SPLITS
from client.data.manifest.splits import CohortKey, Split
from client.guard.cohort import Cohort
from client.settings.site import DatasetTable
from shared.errors import DataError, WardroundError
from shared.loading import loading
from shared.text.plural import many
from shared.web.tables import Table

if TYPE_CHECKING:
    from client.data.check.dataset_check import Report

IMAGES = 8  # of each site, on the contact sheet
Item = TypeVar("Item")


@dataclass(frozen=True)
class Seen:
    """What a look at a dataset found.

    Attributes:
        picture: The contact sheet, PNG; None where there is no image to show.
        moment: When it was looked at: UTC, ISO 8601.
    """

    report: "Report"
    picture: bytes | None
    moment: str

    def errors(self) -> list[str]:
        """Return what stands against training, a few of each kind."""
        return [
            f"{error}" + (f" (and {more} more of this kind)" if more else "")
            for error, more in shown_by_kind(self.report.errors)
        ]

    def facts(self) -> list[tuple[str, str]]:
        """Return what there is, in a few words."""
        report = self.report
        commonest = {"size": report.sizes, "channels": report.channels, "spacing": report.spacings}
        facts = [(f"{report.unit}s", str(report.images)), ("patients", str(report.patients))]
        facts += [(name, _commonest(counts)) for name, counts in commonest.items() if counts]
        if report.read_masks:
            facts.append(("masks", f"{report.read_masks}, {report.empty_masks} empty"))
        return facts

    def tables(self) -> list[Table]:
        """Return how the images are spread over the sides of the split, and over labels."""
        unit, sites = self.report.unit, self.report.sites
        rows: list[Sequence[str | int]] = [
            (site, *(f"{images} ({patients})" for patients, images in (sides[side] for side in SPLITS)))
            for site, sides in sites.items()
        ]
        tables = [Table("split", f"{unit}s (patients) on each side".capitalize(), ("rows of", *SPLITS), rows)]
        labels: list[Sequence[str | int]] = [
            (label or "(none)", *(sides[side] for side in SPLITS))
            for label, sides in sorted(self.report.labels.items(), key=lambda one: one[0] or "")
        ]
        if labels:
            tables.append(Table("labels", f"{unit}s of each label".capitalize(), ("label", *SPLITS), labels))
        return tables


@dataclass
class Progress:
    """A look that is under way, or what came of it.

    Attributes:
        doing: In words.
        done: Of `total`.
        seen: What was found, once it was.
        problem: Why nothing was.
    """

    doing: str = "reading the images"
    done: int = 0
    total: int = 0
    seen: Seen | None = None
    problem: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.seen is not None or bool(self.problem)

    def track(self, items: Sequence[Item]) -> Iterable[Item]:
        """Count items as they are done."""
        self.done, self.total = 0, len(items)
        return self._counted(items)

    def _counted(self, items: Sequence[Item]) -> Iterator[Item]:
        for item in items:
            yield item
            self.done += 1


class Looks:
    """The looks at a site's datasets, one at a time each, kept until the process ends.

    Args:
        folder: The site's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, Progress] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Progress | None:
        """Return the newest look at a dataset."""
        return self._found.get(name)

    def start(self, name: str, dataset: DatasetTable) -> None:
        """Look at a dataset, unless that is under way."""
        with self._lock:
            last = self._found.get(name)
            if last is not None and not last.is_over:
                return
            progress = self._found[name] = Progress()
        threading.Thread(target=self._look, args=(name, dataset, progress), daemon=True).start()

    def _look(self, name: str, dataset: DatasetTable, progress: Progress) -> None:
        try:
            progress.seen = _seen(self._folder, name, dataset, progress)
        except WardroundError as error:
            progress.problem = f"{error.problem}" + (f" {error.remedy}" if error.remedy else "")
        except Exception:
            progress.problem = "The look failed by a fault of Wardround; `wardround data look` says which."
            raise


def _seen(folder: Path, name: str, dataset: DatasetTable, progress: Progress) -> Seen:
    with loading():  # PyTorch and readers of images, 500 MB
        from client.data.check.dataset_check import check_dataset  # noqa: PLC0415
        from client.data.check.expected import Expected  # noqa: PLC0415
        from client.data.kinds.image_columns import image_columns  # noqa: PLC0415
        from client.data.look import Look, contact_picture  # noqa: PLC0415

    cohort = Cohort.rehearsed(folder)
    split = Split(CohortKey.drawn(0), dataset.split)
    if cohort is not None:
        split = cohort.split(name, dataset.split, dataset.collection)
    expected = Expected(images=image_columns(dataset.manifest))
    report = check_dataset(dataset.manifest, expected, split=split, site=dataset.site, track=progress.track)
    progress.doing = "drawing the contact sheet"
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        picture = contact_picture(report, Look(None, IMAGES, seed=0), progress.track)
    except DataError:  # a table of numbers, or not one file that can be read: the report says which
        return Seen(report, None, moment)
    return Seen(report, picture, moment)


def _commonest(counts: dict[str, int]) -> str:
    name, number = max(counts.items(), key=lambda item: item[1])
    others = len(counts) - 1
    return name if not others else f"{name} ({number}), and {many(others, 'other')}"
