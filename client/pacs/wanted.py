"""Which studies a hospital asks its archive for: those of a table, or of a query."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from client.data.manifest.csv_files import read_table
from client.pacs.source import SIGNS
from shared.errors import DataError
from shared.text.names import suggestion

KEYWORDS = {
    "accession_number": "AccessionNumber",
    "study_uid": "StudyInstanceUID",
    "patient_id": "PatientID",
}
"""What a column of a table means to an archive."""


def of_table(
    path: Path, by: str | None = None, column: str | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Give what a table lists, each once: as a person knows it, and as an archive is asked.

    Args:
        path: A CSV.
        by: What the column holds, of `KEYWORDS`; None takes the first of them that the table has.
        column: Its name, where it is another one.

    Raises:
        DataError: The table can't be read, or has no such column.
    """
    header, rows = read_table(path)
    by = by or next((name for name in KEYWORDS if name in header), None)
    if by is None:
        raise DataError(f"has none of the columns {', '.join(KEYWORDS)}", where=path)
    name = column or by
    if name not in header:
        raise DataError(f"has no column '{name}'; {suggestion(name, header)}", where=path)
    place = header.index(name)
    for value in dict.fromkeys(cells[place] for _, cells in rows if len(cells) > place):
        if value:  # a sign that stands for others would find other patients
            yield value, {} if set(value) & SIGNS else {KEYWORDS[by]: value}


def of_query(parts: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Give one query of `Keyword=value` parts.

    Raises:
        DataError: A part has no value, or what stands before it is no keyword of DICOM.
    """
    query = {}
    for part in parts:
        keyword, _, value = part.partition("=")
        if not value or not tag_for_keyword(keyword):
            raise DataError(
                f"--query: '{part}' is not KEYWORD=VALUE", remedy="As in StudyDate=20240101-20241231."
            )
        query[keyword] = value
    if query:
        yield " ".join(parts), query
