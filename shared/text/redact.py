"""Clearing error texts of what could name a patient, a file, a machine or a secret.

What passes is on a list, what is not becomes "…": a list of things to remove is never complete. Error
messages of libraries are made of few words; names of people, folders and hosts are not among them.
"""

import re

from shared.errors import DataError
from shared.text.plain_words import PLAIN_WORDS

GAP = "…"
_LONGEST = 2000  # characters looked at
_QUOTED = re.compile(r"(?<!\w)(['\"`‘’“”«»]).*?(?:['\"`‘’“”«»](?!\w)|$)", re.DOTALL)
_SHAPE = re.compile(r"[\[(](?:[1-9]\d{0,3}, ?){0,4}[1-9]\d{0,3},?[\])]|[1-9]\d{0,3}(?:x[1-9]\d{0,3}){1,4}")
_LIST = re.compile(r"[\[(](?:\d+, ?)*\d+,?[\])]")
_AMOUNT = re.compile(r"(?:0|[1-9]\d{0,4})(?:\.\d{1,2})?")
_SMALL = re.compile(r"0|[1-9]\d{0,2}")
_UNITS = frozenset(
    """
    KiB MiB GiB TiB kB KB MB GB B bytes % s ms seconds minutes pixels voxels images examples patients sites
    rounds dimensions dims channels classes elements parameters features rows columns workers threads
    """.split()  # noqa: SIM905
)
_ACRONYMS = frozenset(
    """
    1D 2D 3D 4D 5D CPU CUDA cuBLAS cuDNN DICOM GPU HTTP HTTPS JPEG JSON NaN NIfTI NVIDIA PNG PyTorch RAM SSL
    TLS TOML
    """.split()  # noqa: SIM905
)
_HAS_DIGIT = re.compile(r"\d")
_EDGES = ".,:;!?()[]{}<>"


def redact(text: str, *, numbers: bool = True) -> str:
    """Return a text with only plain words, small numbers, amounts with a unit and shapes of arrays.

    Gone are: everything quoted, paths and file names, names of people and machines, addresses, dates, DICOM
    UIDs and record numbers, hexadecimal and base64 data, tokens and keys. Each run of such things becomes one
    "…".

    Args:
        text: The message of an error; what stands beyond 2000 characters is left out.
        numbers: Whether any of them stay. In an error about data they count rows, or name one.
    """
    cut = _LIST.sub(lambda found: found[0].replace(" ", ""), text[:_LONGEST])
    words = _QUOTED.sub(f" {GAP} ", cut).split()
    kept: list[str] = []
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        stays = _is_plain(before, word, after) and (numbers or not _HAS_DIGIT.search(word))
        shown = word if stays else GAP
        if shown != GAP or kept[-1:] != [GAP]:
            kept.append(shown)
    if len(text) > _LONGEST and kept[-1:] != [GAP]:
        kept.append(GAP)
    return " ".join(kept)


def _is_plain(before: str, word: str, after: str) -> bool:
    """Say if nothing can hide in a word, seen between its neighbours."""
    bare = word.strip(_EDGES)
    if not bare or not word.isascii() or len(word) - len(bare) > 4:
        return False
    if _SHAPE.fullmatch(word.rstrip(_EDGES[:6])) or _SHAPE.fullmatch(bare):
        return True
    if _AMOUNT.fullmatch(bare):
        in_a_row = any(neighbour.strip(_EDGES)[:1].isdigit() for neighbour in (before, after))
        return after.strip(_EDGES) in _UNITS or (_SMALL.fullmatch(bare) is not None and not in_a_row)
    if bare in _UNITS or bare in _ACRONYMS:
        return True
    begins = before == "" or before.endswith((".", ":", "]"))  # elsewhere a capital begins a name
    lower = bare[0].lower() + bare[1:] if begins else bare
    return all(part in PLAIN_WORDS for part in lower.split("-"))


def redact_error(error: BaseException) -> str:
    """Return an error's type and its cleared message: ``RuntimeError: CUDA out of memory. …``.

    Of an error about data only the problem stays, without a number: which row is wrong, and how many are,
    would answer questions about single patients, as a job names the columns and the classes.
    """
    name = type(error).__name__
    text = error.told or error.problem if isinstance(error, DataError) else str(error)
    message = redact(text, numbers=not isinstance(error, DataError))
    return f"{name}: {message}" if message else name
