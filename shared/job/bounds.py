"""How large a job may be before anybody looks at what it says.

A job comes from a person, and may come from anybody who has that person's token. What validation costs grows
with the number of its keys and values; these bounds are hundreds of times what a real job needs.
"""

from typing import Any

from shared.errors import JobError

LONGEST_JOB = 256 * 1024  # bytes of JSON
MOST_VALUES = 10_000  # tables, lists, keys and values in all
DEEPEST = 12  # tables and lists within each other
MOST_TEXT = LONGEST_JOB  # characters of all keys and texts


def check_bounds(table: dict[str, Any], where: object) -> None:
    """Check that a job, as nested tables, is of a size that can be validated.

    Raises:
        JobError: It has too many values, too much text, or is nested too deeply.
    """
    values = text = 0
    waiting: list[tuple[object, int]] = [(table, 1)]
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if isinstance(value, str):
            text += len(value)
        if isinstance(value, dict):
            waiting.extend((key, depth) for key in value)
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)
        if depth > DEEPEST:
            raise JobError(f"is nested more than {DEEPEST} levels deep", where=where)
        if values + len(waiting) > MOST_VALUES:
            raise JobError(f"has more than {MOST_VALUES} keys and values", where=where)
        if text > MOST_TEXT:
            raise JobError(f"has more than {MOST_TEXT} characters of text", where=where)
