"""A job's tables as the text of a TOML file."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def toml_text(tables: Mapping[str, Any]) -> str:
    """Return tables as TOML; a key whose value is None is left out.

    Tables within tables have a head of their own; those in lists stand in their line.
    """
    return "\n".join(_lines(tables, ())).lstrip("\n") + "\n"


def _lines(table: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    own = {key: value for key, value in table.items() if value is not None}
    plain = {key: value for key, value in own.items() if not isinstance(value, Mapping)}
    if names and (plain or not own):
        yield f"\n[{'.'.join(map(_key, names))}]"
    yield from (f"{_key(key)} = {_spelt(value)}" for key, value in plain.items())
    for key, value in own.items():
        if isinstance(value, Mapping):
            yield from _lines(value, (*names, key))


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else json.dumps(name)


def _spelt(value: object) -> str:
    """Return a value; JSON's texts and numbers are TOML's, too."""
    if isinstance(value, Mapping):
        inside = (f"{_key(key)} = {_spelt(own)}" for key, own in value.items() if own is not None)
        return "{ " + ", ".join(inside) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_spelt, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def without_none(table: dict[str, Any]) -> dict[str, Any]:
    """Return tables without the keys that have no value, which TOML can't hold."""
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
