"""Numbers as a table has them."""

import math
import re

_NUMBER = re.compile(r"[ \t]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*")


def read_number(text: str) -> float:
    """Return the number that a text is.

    Python takes more for one: '1_0', which is a name or a slip, 'nan' and 'inf', digits of other scripts, and
    '1e999', which it reads as infinite.

    Raises:
        ValueError: It is something else.
    """
    if _NUMBER.fullmatch(text) is None or math.isinf(value := float(text)):
        raise ValueError(f"'{text}' is not a number")
    return value
