"""Suggesting the name that was probably meant."""

import difflib
from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'unet'? (one of: ...)`` for a name that is not among the known ones."""
    choices = sorted(known)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    listing = f"one of: {', '.join(choices)}"
    return f"did you mean '{nearest[0]}'? ({listing})" if nearest else listing
