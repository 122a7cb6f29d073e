"""Numbers with their noun: "1 step", "2 passes"."""


def many(count: int, one: str, more: str | None = None) -> str:
    """Return a count with its noun.

    Args:
        count: How many.
        one: The noun in the singular.
        more: In the plural; with an s where it is not given.
    """
    return f"{count} {one if count == 1 else more or one + 's'}"
