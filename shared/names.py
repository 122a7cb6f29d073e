"""What a name may look like, and which one was probably meant."""

import difflib
from collections.abc import Collection, Iterable

NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # of jobs, datasets and sites: safe in paths and on a terminal


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'unet'? (one of: ...)`` for a name that is not among the known ones."""
    choices = sorted(known)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    listing = f"one of: {', '.join(choices)}"
    return f"did you mean '{nearest[0]}'? ({listing})" if nearest else listing


def is_within(name: str, parts: Collection[str]) -> bool:
    """Say whether a tensor or a module of a network, by its dotted name, belongs to one of the parts."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)
