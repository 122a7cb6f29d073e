"""Which series become the rows of a dataset, by the hospital's rules; what does not, is counted and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from client.data.images.file_hash import content_hash
from client.dicom_import.headers import text
from client.dicom_import.report import Report
from client.dicom_import.rules import Rules, SeriesRule
from client.dicom_import.series import Series, SourceFile

Fitting = dict[str, list[Series]]
"""By the name of a rule: the series that fit."""


@dataclass(frozen=True)
class Row:
    """One row of the dataset that will be.

    Attributes:
        patient: PatientID.
        rule: Of a row that is one series: the rule that it fits; otherwise empty.
        series: By the column of images.
    """

    patient: str
    rule: str
    series: Mapping[str, Series]

    @property
    def first(self) -> Series:
        """The series of the first column: whose header speaks for the row."""
        return next(iter(self.series.values()))


class Choice:
    """Turns the series of a patient into rows.

    Args:
        rules: The hospital's.
        report: Counts what is left out.
    """

    def __init__(self, rules: Rules, report: Report) -> None:
        self._rules, self._report = rules, report

    def rows(self, patient: str, found: Sequence[Series]) -> Iterator[Row]:
        """Give the rows of a patient.

        Args:
            patient: PatientID.
            found: All series with it, sorted by study.
        """
        born = {text(series.header, "PatientBirthDate") for series in found} - {""}
        if len(born) > 1:
            for series in found:
                self._report.skip_series(series, "its PatientID has several dates of birth")
            return
        whole = [own for series in found if (own := self._whole(series)) is not None]
        if self._rules.rows == "image":
            whole = [image for series in whole for image in series.images()]
        if self._rules.rows == "patient":
            yield from self._together(patient, whole)
            return
        for _, of_study in groupby(whole, key=lambda series: series.study):
            if self._rules.rows == "study":
                yield from self._together(patient, list(of_study))
            else:
                yield from self._each(patient, of_study)

    def _each(self, patient: str, found: Iterator[Series]) -> Iterator[Row]:
        for name, fitting in self._fitting(list(found)).items():
            yield from (Row(patient, name, {"image": series}) for series in fitting)

    def _together(self, patient: str, found: Sequence[Series]) -> Iterator[Row]:
        """Give one row for several series, where each rule has one."""
        if not found:
            return
        fitting = self._fitting(found)
        chosen: dict[str, Series] = {}
        for name, rule in sorted(self._rules.series.items(), key=lambda item: item[1].of is not None):
            of = chosen.get(rule.of or "")
            picked = _picked(rule, [one for one in fitting[name] if of is None or _is_of(one, of)])
            if isinstance(picked, str):
                self._skip_row(found, fitting, f"{picked} '{name}'")
                return
            chosen[name] = picked
        for one in (one for own in fitting.values() for one in own if one not in chosen.values()):
            self._report.skip_series(one, "another series of its row counts")
        yield Row(patient, "", {name: chosen[name] for name in self._rules.series})

    def _skip_row(self, found: Sequence[Series], fitting: Fitting, reason: str) -> None:
        first = found[0]
        where = f"{text(first.header, 'AccessionNumber') or first.study} ({first.files[0].shown})"
        self._report.skip("row", reason, where)
        for one in (one for own in fitting.values() for one in own):
            self._report.skip_series(one, f"its {self._rules.rows} was left out")

    def _fitting(self, found: Sequence[Series]) -> Fitting:
        """Return the series that can be used by the rule that each fits; count the others."""
        fitting: Fitting = {name: [] for name in self._rules.series}
        for series in found:
            name = self._rules.first_that_fits(series)
            if name is None:
                self._report.no_rule(series)
            elif problem := series.problem():
                self._report.skip_series(series, problem)
            else:
                fitting[name].append(series)
        return fitting

    def _whole(self, series: Series) -> Series | None:
        """Return a series with each image once; none where it is not known which of two counts."""
        kept: dict[str, SourceFile] = {}
        dropped: list[tuple[SourceFile, str]] = []
        for file in series.files:
            uid = text(file.header, "SOPInstanceUID")
            first = kept.setdefault(uid, file)
            if first is file:
                continue
            if not first.is_there or not file.is_there:
                gone, kept[uid] = (first, file) if file.is_there else (file, first)
                dropped.append((gone, "no longer there, and its copy is"))
            elif _are_equal(first, file):
                dropped.append((file, "a copy of an image that is there already"))
            else:
                self._report.skip_series(series, "holds two images with one SOPInstanceUID that differ")
                return None
        for file, reason in dropped:
            self._report.skip("file", reason, file.shown)
        return replace(series, files=list(kept.values())) if dropped else series


def _are_equal(one: SourceFile, other: SourceFile) -> bool:
    if (one.size, one.header) != (other.size, other.header):
        return False
    if one.archive or other.archive:  # one header and one size: to unpack both is not worth what it tells
        return True
    return content_hash(Path(one.name)) == content_hash(Path(other.name))


def _is_of(drawn: Series, on: Series) -> bool:
    return on.uid in drawn.header.get("References", ())


def _picked(rule: SeriesRule, found: Sequence[Series]) -> Series | str:
    """Return the series that counts, or how to begin the reason why none does."""
    if not found:
        return "lacks"
    if len(found) == 1:
        return found[0]
    in_time = sorted(found, key=lambda series: series.when)
    match rule.several:
        case "first":
            return in_time[0]
        case "last":
            return in_time[-1]
        case "most-slices":
            return max(in_time, key=lambda series: series.slices)
        case _:
            return "has several series for"
