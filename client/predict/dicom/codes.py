"""What classes are called in DICOM: SNOMED CT, from the dictionary of PS3.16 where it has the name."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

PRIVATE = "99WARDROUND"
"""The coding scheme of names that have no code."""
SCHEME = CodingSchemeIdentificationItem(
    PRIVATE, name="Names of classes in jobs of Wardround", responsible_organization="Wardround"
)
_CODE = 16  # characters of a code (SH, PS3.5 6.2)
_MEANING = 64
_ALSO = {  # what PS3.16 calls by another name
    "Tumour": "Neoplasm",
    "Tumor": "Neoplasm",
    "Oedema": "Edema",
    "Haemorrhage": "Hemorrhage",
    "Vessel": "BloodVessel",
    "Vessels": "BloodVessel",
}


@dataclass(frozen=True)
class Coded:
    """What a class is.

    Attributes:
        type: The code of the structure itself.
        category: Of CID 7150: an anatomical structure, a morphologically abnormal one, or tissue.
    """

    type: Code
    category: Code


_CATEGORIES = {
    "anatomy": codes.SCT.AnatomicalStructure,
    "lesion": codes.SCT.MorphologicallyAbnormalStructure,
    "tissue": codes.SCT.Tissue,
}


def codes_of(names: Iterable[str], given: Mapping[str, Sequence[str]]) -> dict[str, Coded]:
    """Return the code of each class: the one that the job gives it, or that of its name.

    Args:
        names: Of the classes.
        given: `[task] codes` of the job.
    """
    return {name: _given(given[name]) if name in given else coded(name) for name in names}


def _given(code: Sequence[str]) -> Coded:
    scheme, value, meaning, *category = code
    is_lesion = any(Code(value, scheme, "") == known for known in codes.CID7159.concepts.values())
    usual = "lesion" if is_lesion else "anatomy"
    return Coded(Code(value, scheme, meaning), _CATEGORIES[category[0] if category else usual])


def coded(name: str) -> Coded:
    """Return the code of a class by its name.

    A name that PS3.16 does not know has a code of its own in a private scheme: nobody reads more out of it
    than the job says.
    """
    keyword = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))
    keyword = _ALSO.get(keyword, keyword)
    if keyword in codes.CID7159.dir():
        return Coded(getattr(codes.CID7159, keyword), codes.SCT.MorphologicallyAbnormalStructure)
    if keyword in codes.CID7151.dir():
        return Coded(getattr(codes.CID7151, keyword), codes.SCT.AnatomicalStructure)
    return Coded(private(name), codes.SCT.Tissue)


def private(name: str) -> Code:
    """Return a code of our own for a name that has none."""
    short = name if len(name) <= _CODE else f"{name[:8]}-{hashlib.sha256(name.encode()).hexdigest()[:7]}"
    return Code(short, PRIVATE, name[:_MEANING])
