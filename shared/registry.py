"""What outside packages add to Wardround: options classes, found through their entry points.

A package that is installed beside Wardround may name options classes under the groups `wardround.tasks`,
`wardround.networks`, `wardround.strategies` and `wardround.metrics` (see docs/extending.md). Nothing is ever
loaded by a name that came over the network: only what whoever runs this process has installed.
"""

import logging
from functools import reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field

from shared.table import Table

log = logging.getLogger(__name__)

Options = TypeVar("Options", bound=Table)


class Registry(dict[str, type[Options]]):
    """Options classes by the name that a job gives: those built in, then those of installed packages.

    Attributes:
        group: Of the entry points.
        package: Name -> the distribution that it comes from, for what is not built in.
        broken: Entry point -> why it can't be used.

    Args:
        group: Of the entry points.
        built_in: Options classes; the annotation of each one's `name` is a Literal of its names.
        base: What an added class must derive from.
    """

    def __init__(self, group: str, built_in: tuple[type[Options], ...], base: type[Options]) -> None:
        super().__init__({name: options for options in built_in for name in names_of(options)})
        self.group = group
        self.package: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        for point in entry_points(group=group):
            try:
                self._add(point, base)
            except Exception as error:  # whatever a package does when it is imported
                self.broken[point.name] = f"{type(error).__name__}: {error}"
                log.warning("%s: '%s' can't be used (%s)", group, point.value, self.broken[point.name])

    def union(self) -> Any:
        """Return the type of a table that holds the options of any of them."""
        return Annotated[reduce(or_, dict.fromkeys(self.values())), Field(discriminator="name")]

    @property
    def built_in(self) -> list[str]:
        """The names that are part of Wardround."""
        return [name for name in self if name not in self.package]

    def origin(self, name: str) -> str:
        """Return where a name comes from, to be said behind it; nothing for what is built in."""
        return f" (of the package {self.package[name]})" if name in self.package else ""

    def _add(self, point: EntryPoint, base: type[Options]) -> None:
        options = point.load()
        if not (isinstance(options, type) and issubclass(options, base)):
            raise TypeError(f"it is not a subclass of {base.__name__}")
        names = names_of(options)
        if point.name not in names:
            raise ValueError(f"its name is {' or '.join(map(repr, names)) or 'missing'}")
        taken = [name for name in names if name in self and self[name] is not options]
        if taken:
            raise ValueError(f"there is another '{taken[0]}'")
        for name in names:
            self[name] = options
            self.package[name] = point.dist.name if point.dist is not None else "unknown"


def names_of(options: type[Table]) -> tuple[str, ...]:
    """Return the names that a job may give for an options class: the Literal of its field `name`."""
    field = options.model_fields.get("name")
    return tuple(map(str, get_args(field.annotation))) if field is not None else ()
