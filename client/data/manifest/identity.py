"""Whether an id is one: what a program wrote where one was lost or cut makes one patient of several."""

import re
from collections.abc import Iterable

_NOBODY = {"nan", "none", "null", "n/a", "na", "<na>", "nat", "undefined"}
_ERROR = re.compile(r"#(N/A|NV|[A-ZÀ-Ý/0]+[!?])")  # of a spreadsheet
_CUT_NUMBER = re.compile(r"[0-9][.,]?[0-9]*E\+[0-9]{2,3}", re.IGNORECASE)
_TOO_NARROW = re.compile(r"#{3,}")  # what a spreadsheet shows where a column is
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE = re.compile(rf"[0-9]{{1,2}}-{_MONTH}(-[0-9]{{2,4}})?|{_MONTH}-[0-9]{{2}}", re.IGNORECASE)
_MARKED = re.compile(r"['\u2019][0-9]")  # a spreadsheet's mark of text before a number
_LONG = re.compile(r"[1-9][0-9]{15,}")
_KEPT = 15  # digits of a number that a spreadsheet keeps; the others become 0


def require_identity(patient: str) -> None:
    """Refuse what a program wrote where an id was lost: rows of several patients would be one's.

    Raises:
        ValueError: It is such a text.
    """
    if patient.casefold() in _NOBODY or _ERROR.fullmatch(patient) or _TOO_NARROW.fullmatch(patient):
        raise ValueError(f"the patient is '{patient}', which stands where an id was lost")
    if _CUT_NUMBER.fullmatch(patient):
        raise ValueError(
            f"the patient is '{patient}', a number whose digits a spreadsheet cut: format the column as text"
        )
    if _DATE.fullmatch(patient):
        raise ValueError(
            f"the patient is '{patient}', a date that a spreadsheet made of an id: format the column as text"
        )
    if "\ufffd" in patient:
        raise ValueError(f"the patient '{patient}' has a letter that was lost: save the table in UTF-8")
    require_unmarked(patient, "patient")


def require_unmarked(name: str, column: str) -> None:
    """Refuse a number with a spreadsheet's mark of text, which elsewhere is written without it.

    Raises:
        ValueError: It has.
    """
    if _MARKED.match(name):
        raise ValueError(
            f"the {column} {name} begins with a spreadsheet's mark of text: take the mark out, in all tables"
        )


def cut_ids(ids: Iterable[str]) -> set[str]:
    """Return the ids whose last digits a spreadsheet made 0, as it does from the 16th digit on.

    One id may end so by chance; where more than half of the long ones do, they were cut.
    """
    long = {one for one in ids if _LONG.fullmatch(one)}
    ending = {one for one in long if not one[_KEPT:].strip("0")}
    return ending if 2 * len(ending) > len(long) else set()


def cut(patient: str) -> str:
    """Return what is wrong with an id of `cut_ids`."""
    return (
        f"the patient is '{patient}', all digits after the {_KEPT}th are 0: a spreadsheet cuts long numbers "
        "so, and makes one patient of several"
    )


CUT_REMEDY = "Export the ids as text. If they are right, put a letter before each of them in all tables."
