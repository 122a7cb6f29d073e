"""Keys of a table that are for some of its methods alone, and their values where a job leaves them out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from shared.table import Table


@dataclass(frozen=True)
class MethodKey:
    """What is known of a key before its description.

    Attributes:
        methods: That it is for.
        usual: Its value where a job leaves it out. In the job it is None then, so that the digest of a job
            does not hold keys of other methods.
        example: For a commented job file, where the usual value is none.
    """

    methods: tuple[str, ...]
    usual: float
    example: float | None = None

    def field(self, meaning: str, **bounds: Any) -> Any:
        """Return the key's field, described by its methods, a meaning and the usual value.

        Args:
            meaning: Without a full stop.
            bounds: As pydantic's `Field` has them: `ge`, `lt`.
        """
        return Field(
            None,
            examples=[self.usual if self.example is None else self.example],
            description=f"{', '.join(self.methods)}: {meaning}. Default: {self.usual:g}.",
            **bounds,
        )


class MethodTable(Table):
    """A table whose `method` says which of its other keys a job may give.

    Attributes:
        method_keys: Those that are not for every method, by name.
    """

    method: str
    method_keys: ClassVar[Mapping[str, MethodKey]]

    def value_of(self, key: str) -> Any:
        """Return the value of one of `method_keys`: the job's, or the usual one."""
        given = getattr(self, key)
        return self.method_keys[key].usual if given is None else given

    @model_validator(mode="after")
    def _keys_of_methods(self) -> Self:
        check_keys(self, "method", {key: own.methods for key, own in self.method_keys.items()})
        return self


def check_keys(table: Table, choice: str, keys: Mapping[str, Collection[str]]) -> None:
    """Raise ValueError where a key differs from its default and is for other values of a choice.

    Args:
        table: The table.
        choice: The key that decides, such as `method`.
        keys: By key, the values of `choice` that it is for.
    """
    for key, values in keys.items():
        is_given = getattr(table, key) != type(table).model_fields[key].default
        if is_given and getattr(table, choice) not in values:
            raise ValueError(f"{key}: is for {choice} = {' or '.join(map(repr, values))}")
