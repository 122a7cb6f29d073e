"""What outside packages add to Wardround: classes, found through their entry points.

A package that is installed beside Wardround may name classes under the group of each registry (see
docs/extending.md). Nothing is ever loaded by a name that came over the network: only what whoever runs this
process has installed.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property, reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field

from shared.table import Table
from shared.text.printable import printable

log = logging.getLogger(__name__)

Class = TypeVar("Class")
Options = TypeVar("Options", bound=Table)


class Installed(Mapping[str, type[Class]]):
    """Classes by name: those built in, then those of installed packages.

    The packages are loaded when a name is first asked for: one module may add to several registries.

    Attributes:
        group: Of the entry points, whose names are those of the classes.

    Args:
        group: Of the entry points.
        built_in: Classes by name.
        base: What an added class must derive from.
    """

    def __init__(self, group: str, built_in: Mapping[str, type[Class]], base: type[Class]) -> None:
        self.group = group
        self._base = base
        self._built_in = dict(built_in)

    def __getitem__(self, name: str) -> type[Class]:
        """Return the class of a name."""
        return self._built_in[name] if name in self._built_in else self._added[name][0]

    def __iter__(self) -> Iterator[str]:
        """Yield every name, those built in first."""
        return iter([*self._built_in, *self._added])

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._built_in) + len(self._added)

    @property
    def package(self) -> dict[str, str]:
        """Name -> the distribution that it comes from, for what is not built in."""
        return {name: package for name, (_, package) in self._added.items()}

    def origin(self, name: str) -> str:
        """Return where a name comes from, to be said behind it; nothing for what is built in."""
        return f" (of the package {self.package[name]})" if name in self.package else ""

    @cached_property
    def _added(self) -> dict[str, tuple[type[Class], str]]:
        found: dict[str, list[tuple[type[Class], str]]] = {}
        for point in entry_points(group=self.group):
            package = point.dist.name if point.dist is not None else "unknown"
            try:
                added = self._loaded(point)
                names = self._names(added, point.name)
            except (Exception, SystemExit) as error:  # whatever a package does when it is imported
                self._leave_out(point.value, package, printable(error))
                continue
            for name in names:
                found.setdefault(name, []).append((added, package))
        return {name: those[0] for name, those in found.items() if self._is_only(name, those)}

    def _is_only(self, name: str, those: list[tuple[type[Class], str]]) -> bool:
        """Say whether a name means one thing: in which order packages are found differs between machines."""
        if len(set(those)) > 1:
            packages = " and ".join(sorted({package for _, package in those}))
            self._leave_out(name, packages, f"there are {len(set(those))} of that name")
        return len(set(those)) == 1

    def _leave_out(self, what: str, package: str, reason: str) -> None:
        log.warning("%s: '%s' of the package %s can't be used (%s)", self.group, what, package, reason)

    def _loaded(self, point: EntryPoint) -> type[Class]:
        added = point.load()
        if not (isinstance(added, type) and issubclass(added, self._base)):
            raise TypeError(f"it is not a subclass of {self._base.__name__}")
        names = self._names(added, point.name)
        if missing := self._missing(added):
            raise TypeError(f"it lacks {', '.join(sorted(missing))}")
        if twice := self._built_in.keys() & set(names):
            raise ValueError(f"there is another '{min(twice)}'")
        return added

    def _names(self, added: type[Class], point: str) -> tuple[str, ...]:
        """Return the names of a class that an entry point of a name leads to."""
        return (point,)

    def _missing(self, added: type[Class]) -> set[str]:
        """Return what a class must have and has not."""
        return set(getattr(added, "__abstractmethods__", ()))


class Registry(Installed[Options]):
    """Options classes by the name that a job gives, which the class says itself.

    Args:
        group: Of the entry points.
        built_in: Options classes; the annotation of each one's `name` is a Literal of its names.
        base: What an added class must derive from.
    """

    def __init__(self, group: str, built_in: tuple[type[Options], ...], base: type[Options]) -> None:
        super().__init__(group, {name: options for options in built_in for name in names_of(options)}, base)

    def union(self) -> Any:
        """Return the type of a table that holds the options of any of them."""
        return Annotated[reduce(or_, dict.fromkeys(self.values())), Field(discriminator="name")]

    def _loaded(self, point: EntryPoint) -> type[Options]:
        options = super()._loaded(point)
        if hidden := [key for key in options.model_fields if key != "name" and hasattr(self._base, key)]:
            raise ValueError(f"its option '{hidden[0]}' hides what {self._base.__name__} has under that name")
        return options

    def _names(self, added: type[Options], point: str) -> tuple[str, ...]:
        names = names_of(added)
        if point not in names:
            raise ValueError(f"its name is {' or '.join(map(repr, names)) or 'missing'}")
        return names

    def _missing(self, added: type[Options]) -> set[str]:
        wanted = self._base.__class_vars__
        return super()._missing(added) | {key for key in wanted if not hasattr(added, key)}


def names_of(options: type[Table]) -> tuple[str, ...]:
    """Return the names that a job may give for an options class: the Literal of its field `name`."""
    field = options.model_fields.get("name")
    return tuple(map(str, get_args(field.annotation))) if field is not None else ()
