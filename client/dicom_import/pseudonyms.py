"""Names that nobody without the hospital's key can trace: keyed hashes of patients, studies and series."""

from datetime import date, timedelta
from pathlib import Path

from client.data.manifest.splits import CohortKey
from client.dicom_import.headers import Header, text
from client.dicom_import.series import Series

_DIGITS = 16  # of a hash, 64 bits: two of a million patients share one with a chance of 3e-8
_MOST_DAYS = 365
_OLDEST = 90.0  # years: whoever is older is one of few
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


class Pseudonyms:
    """What stands for whom.

    Args:
        key: The hospital's.
    """

    def __init__(self, key: CohortKey) -> None:
        self._key = key

    @property
    def secret(self) -> str:
        """The key, for this program's own processes."""
        return self._key.secret.hex()

    @property
    def check(self) -> str:
        """Tells whether a key is this one, and nothing else of it."""
        return self._key.hash("check of pseudonyms", "").hex()[:_DIGITS]

    def patient(self, patient_id: str) -> str:
        """Return what stands for a PatientID."""
        return f"p{self._of('patient', patient_id)}"

    def study(self, uid: str) -> str:
        """Return what stands for a StudyInstanceUID."""
        return f"s{self._of('study', uid)}"

    def series(self, uid: str) -> str:
        """Return what stands for a SeriesInstanceUID."""
        return f"r{self._of('series', uid)}"

    def image(self, uid: str) -> str:
        """Return what stands for a SOPInstanceUID."""
        return f"i{self._of('image', uid)}"

    def days(self, patient_id: str) -> int:
        """Return by how many days, 1 to 365, all dates of a patient are moved back."""
        return 1 + int(self._key.position(patient_id.strip(), "days") * _MOST_DAYS)

    def shifted(self, value: str, patient_id: str) -> str:
        """Return a date (DICOM's DA) moved back, as ISO 8601; empty where it is not a date."""
        try:
            day = date.fromisoformat(f"{value[:4]}-{value[4:6]}-{value[6:8]}")
            return (day - timedelta(days=self.days(patient_id))).isoformat()
        except (ValueError, OverflowError):
            return ""

    def digest(self, text: str) -> str:
        """Return what stands for anything else, as in the audit log: 64 hexadecimal digits."""
        return self._key.hash("pseudonym of other", text).hex()

    def version(self, source: str) -> int:
        """Return a copy's time of change, nanoseconds since 1970: another one when its source has changed.

        It is a keyed hash, of whole seconds: the source's own time may be the day of a study.

        Raises:
            OSError: The source is gone.
        """
        changed = Path(source).stat().st_mtime_ns
        return int(self.digest(f"version {changed}")[:7], 16) * 10**9

    def who(self, series: Series) -> tuple[str, ...]:
        """Return whose a series is and what stands for them: the hospital's table to find patients again."""
        return (
            series.patient,
            text(series.header, "AccessionNumber"),
            series.study,
            self.patient(series.patient),
            self.study(series.study),
        )

    def kept(self, header: Header, name: str) -> str:
        """Return a value of a header as a dataset may have it."""
        value = text(header, name)
        if name == "PatientAge":
            return years(value)
        return self.shifted(value, text(header, "PatientID")) if name.endswith("Date") else value

    def _of(self, purpose: str, identity: str) -> str:
        return self._key.hash(f"pseudonym of {purpose}", identity.strip()).hex()[:_DIGITS]


def years(age: str) -> str:
    """Return an age (DICOM's AS, as 018M) in years, 90 at most; empty where it is not an age."""
    unit = _PER_YEAR.get(age[-1:])
    if unit is None or not age[:-1].isdecimal():
        return ""
    return f"{min(_OLDEST, int(age[:-1]) / unit):.4g}"
