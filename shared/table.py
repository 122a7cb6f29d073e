"""What every table of a job, of settings or of a message is made of: strict models, types of values."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from shared.text.names import LABEL, NAME

Name = Annotated[str, Field(pattern=NAME)]
Label = Annotated[str, Field(pattern=LABEL)]
Positive = Annotated[float, Field(gt=0)]


ONE, SEVERAL = "(one)", "(several)"
"""How a union tells a table from a table of tables; no key has such a name."""


class Table(BaseModel):
    """One table, or one message: no unknown keys, no NaN, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def later_key(default: Any, **field: Any) -> Any:
    """Return the field of a key that came when there were jobs, or settings, without it.

    At its default it is left out of what is written, so that those jobs keep their digest.

    Args:
        default: Of the key; none of those that pydantic makes anew.
        field: As pydantic's `Field` has it.
    """
    return Field(default, exclude_if=lambda value: value == default, **field)


def check_distinct(key: str, names: Sequence[str]) -> None:
    """Raise ValueError where a key names something twice."""
    if len(set(names)) != len(names):
        raise ValueError(f"{key}: a name appears twice")
