"""Whether a face may be recognised in a series: what its headers say. Nothing is done against it.

The option Clean Recognizable Visual Features of DICOM PS3.15 (E.3.2) is for whoever has a tool that does it.
"""

import re
from collections.abc import Callable

NOT_DONE = "Clean Recognizable Visual Features"
_VOLUMES = (
    "CT",
    "MR",
    "PT",
    "NM",
)  # of which a surface can be reconstructed; photographs are not copied at all
_HEAD = re.compile(
    "head|brain|skull|cerebr|crani|neuro|facial|orbit|sinus|mandib|maxill|dental|nasal|pituit|hypophys|carotid"
    "|kopf|sch(ae|ä)del|hirn|gesicht|cabeza|t(ê|e)te|cr(â|a)ne|cervic|whole.?body|ganzk(oe|ö)rper|vertex"
    r"|\b(face|eyes?|jaw|ears?|iacs?|neck|hals)\b",
    re.IGNORECASE,
)
_WHAT = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")


def may_show_a_face(value: Callable[[str], str]) -> bool | None:
    """Return whether a file is of a volume of the head; None where its headers do not say what it is of.

    Args:
        value: Returns a header's value by its keyword; empty where it has none.
    """
    if value("Modality").upper() not in _VOLUMES:
        return False
    if _HEAD.search(" ".join(map(value, _WHAT))):
        return True
    return False if value("BodyPartExamined").strip() else None
