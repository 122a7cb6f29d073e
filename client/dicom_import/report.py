"""What became of everything that was found: counted, and each thing that was left out with its reason."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from client.dicom_import.faces import NOT_DONE, may_show_a_face
from client.dicom_import.headers import text
from client.dicom_import.series import Series
from shared.files import replace_file
from shared.text.plural import many

Level = Literal["row", "series", "file"]
SKIPPED, REPORT = "skipped.csv", "report.json"
_LISTED = 40  # descriptions of series that fit no rule
_NOUNS = {"row": "rows", "series": "series", "file": "files"}


class Report:
    """The counts of an import; what identifies stands only in the files beside the dataset.

    Args:
        folder: Where each thing that is left out is written down, as it comes: there may be millions.
        profile: By which files are de-identified.

    Attributes:
        used: Rows, series, files and patients of the dataset.
        faces: Series of copies without identifiers in which a face may be recognised.
        alike: Groups of patients whose ids differ only in how they are written: pseudonyms hide that.
    """

    def __init__(self, folder: Path, profile: str | None = None) -> None:
        self._profile = profile
        self.used: Counter[str] = Counter()
        self.alike = self.faces = 0
        self._reasons: dict[Level, Counter[str]] = {level: Counter() for level in get_args(Level)}
        self._unmatched: Counter[tuple[str, str]] = Counter()
        self._folder = folder
        self._part = folder / f".{SKIPPED}.part"
        self._part.unlink(missing_ok=True)
        self._part.touch(0o600)
        self._file = self._part.open("w", encoding="utf-8", errors="replace", newline="")
        self._table = csv.writer(self._file, lineterminator="\n")
        self._table.writerow(("what", "reason", "where"))

    def skip(self, level: Level, reason: str, where: str) -> None:
        """Count something that is left out; numbers and names of files make no other reason."""
        self._reasons[level][reason if level == "row" else kind(reason)] += 1
        self._table.writerow((level, reason, where))

    def skip_series(self, series: Series, reason: str) -> None:
        """Count a series that is left out."""
        self.skip("series", reason, f"{series.files[0].shown} ({len(series.files)} files)")

    def copied(self, series: Series) -> None:
        """Count a series that is copied without what identifies, if a face may be recognised in it."""
        header = series.header
        self.faces += may_show_a_face(lambda name: text(header, name)) is not False

    def no_rule(self, series: Series) -> None:
        """Count a series that fits no rule."""
        self.skip_series(series, "fits no rule")
        self._unmatched[series.modality, series.descriptions.partition("\n")[0]] += 1

    def lines(self) -> Iterator[str]:
        """Yield what a person is told."""
        if self.faces:
            yield (
                f"{many(self.faces, 'series', 'series')} in which a face may be recognised: volumes of the "
                f"head, or of what the headers do not name. Nothing is done against that ({NOT_DONE})"
            )
        if self.alike:
            yield (
                f"{many(self.alike, 'group')} of patients whose ids differ only in how they are written "
                "(capitals, zeros in front, dashes): is each one person? Their pseudonyms differ"
            )
        for level, reasons in self._reasons.items():
            if reasons:
                yield f"{reasons.total()} {_NOUNS[level]} left out:"
                yield from (f"  {count:>7}  {reason}" for reason, count in reasons.most_common())

    def told(self) -> dict[str, Any]:
        """Return the counts as JSON has them; no patient is named."""
        return {
            "used": dict(self.used),
            "alike": self.alike,
            **({"faces": self.faces, "options_not_done": [NOT_DONE]} if self._profile else {}),
            "skipped": {level: dict(own) for level, own in self._reasons.items()},
        }

    def write(self) -> None:
        """Write the report beside the dataset.

        Raises:
            OSError: It can't be written.
        """
        listed = [
            {"modality": modality, "description": description, "series": count}
            for (modality, description), count in self._unmatched.most_common(_LISTED)
        ]
        told = {"profile": self._profile, **self.told(), "fits_no_rule": listed}
        content = json.dumps(told, indent=2) + "\n"
        replace_file(self._folder / REPORT, content.encode())
        self._file.close()
        self._part.replace(self._folder / SKIPPED)


def kind(reason: str) -> str:
    """Return a reason without what differs from one case to the next."""
    return re.sub(r"'[^']*[0-9][^']*'|\S*[0-9]\S*", "#", reason)
