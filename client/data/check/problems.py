"""Many errors of a dataset in few lines: by kind, with counts and three examples each."""

import re
from collections.abc import Iterator, Sequence

from shared.errors import DataError

EXAMPLES = 3


def by_kind(errors: Sequence[DataError]) -> list[list[DataError]]:
    """Return errors by what is wrong, whatever numbers and names it is wrong with; the commonest first."""
    groups: dict[str, list[DataError]] = {}
    for error in errors:
        kind = re.sub(r"'[^']*'|[0-9][0-9.x]*", "#", error.problem)
        groups.setdefault(kind, []).append(error)
    return sorted(groups.values(), key=len, reverse=True)


def shown_by_kind(errors: Sequence[DataError]) -> Iterator[tuple[DataError, int]]:
    """Yield the errors to show, and after the last one of a kind how many more there are of it."""
    for group in by_kind(errors):
        shown = group[:EXAMPLES]
        yield from ((error, 0) for error in shown[:-1])
        yield shown[-1], len(group) - len(shown)


def require_none(errors: Sequence[DataError]) -> None:
    """Raise what is wrong as one error.

    It names rows and files: only for who has the data before them.

    Raises:
        DataError: There are errors.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kinds = len(by_kind(errors))
        lines = [f"{len(errors)} problems of {kinds} kind{'s' * (kinds != 1)}"]
        for error, more in shown_by_kind(errors):
            lines.append(str(error))
            if more:
                lines.append(f"and {more} more of this kind")
        raise DataError("\n  ".join(lines))
