"""What a name may look like, and which one was probably meant."""

import difflib
import heapq
import re
from collections.abc import Collection, Iterable

from shared.text.printable import printable

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # of jobs, datasets and sites: safe in paths and on a terminal
WHAT_A_NAME_IS = "lower-case letters, digits, '.', '_' and '-', at most 63, with a letter or digit first"
LONGEST_SHOWN = 60  # characters of a name that a message repeats
MOST_SHOWN = 40  # names that a message lists
# To compare two names takes time that grows with the cube of their length, and names may come from others.
_LONGEST_COMPARED = 40
_MOST_COMPARED = 40

_LETTERS = "0-9A-Za-zÀ-ʯͰ-ϿЀ-ҁҊ-ӿぁ-ゖァ-ヺー一-鿿가-힣"  # of scripts that run from left to right
_PLAIN = rf"-{_LETTERS}_.,:;+/()&%'<>=≤≥#*"
LABEL = rf"^[{_PLAIN}]([{_PLAIN} ]{{0,62}}[{_PLAIN}])?$"
"""Of classes and columns: one line of at most 64 characters, which can't change how others are shown."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'unet'? (one of: ...)`` for a name that is not among the known ones.

    Neither the text nor the work grows beyond a bound, however many and however long the names are.
    """
    choices = sorted(known)
    listing = f"one of: {', '.join(shown(choice) for choice in choices[:MOST_SHOWN])}"
    if len(choices) > MOST_SHOWN:
        listing += f" and {len(choices) - MOST_SHOWN} more"
    nearest = _nearest(name, choices)
    return f"did you mean '{printable(nearest)}'? ({listing})" if nearest else listing


def as_name(text: str) -> str:
    """Return a valid name like a text: ``chest-x-ray`` for ``Chest X-ray``; empty where there is none."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:63]


def shown(name: str) -> str:
    """Return a name as a message repeats it: on one line, cut where it is too long for one."""
    return shortened(printable(name), LONGEST_SHOWN)


def shortened(text: str, longest: int) -> str:
    """Return a text of somebody else, cut where it is too long for a message."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def _nearest(name: str, choices: list[str]) -> str | None:
    """Return the most similar of the choices that are most likely to be, by first letter and length."""
    if len(name) > _LONGEST_COMPARED:
        return None
    compared = heapq.nsmallest(
        _MOST_COMPARED,
        (choice for choice in choices if len(choice) <= _LONGEST_COMPARED),
        key=lambda choice: (choice[:1] != name[:1], abs(len(choice) - len(name))),
    )
    return next(iter(difflib.get_close_matches(name, compared, n=1, cutoff=0.5)), None)


def is_within(name: str, parts: Collection[str]) -> bool:
    """Say whether a tensor or a module of a network, by its dotted name, belongs to one of the parts."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)
