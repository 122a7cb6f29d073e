"""The commented `site.toml` that a site begins with, from the schema's own descriptions."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from client.settings.site import SiteConfig
from shared.json_schema import schema_line

EXAMPLES: dict[str, dict[str, object]] = {
    "datasets": {"manifest": "/data/brain/manifest.csv", "site": "st-mary"},
    "cache": {"folder": "/data/cache"},
    "device": {"gpu": 0, "memory_gib": 16.0, "launcher": "slurm"},
}
EXAMPLE = "brain-lgg"  # stands for the name of a dataset
NAMED_TEXTS = {"peers": f'charite = "SHA256:{"A" * 43}"'}
BEGIN = """\
# What this hospital offers, allows and computes on. Lines that begin with '#' are defaults or examples.
# Relative paths count from this file's folder.
"""


def site_template(name: str, coordinator: str, schemas: str = ".") -> str:
    """Return a `site.toml` for a site; every key that is not needed is commented out.

    Args:
        name: Of the site.
        coordinator: ``host:port``.
        schemas: Where its JSON Schema lies, from its folder.
    """
    schema = SiteConfig.model_json_schema()
    tables: list[str] = []
    for key, field in schema["properties"].items():
        if key in NAMED_TEXTS:
            tables.append("\n".join([*_comment(field), f"[{key}]", f"# {NAMED_TEXTS[key]}"]))
        else:
            values = {"name": name, "coordinator": coordinator} if key == "site" else {}
            tables += _blocks(key, field, schema["$defs"], values)
    begin = f"{schema_line('site', schemas)}\n{BEGIN.rstrip()}"
    return "\n\n".join([begin, *tables]) + "\n"


def _blocks(
    key: str, field: Mapping[str, Any], definitions: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[str]:
    """Give a table's lines, then those of the tables within it."""
    table = _table(field, definitions)
    assert table is not None  # noqa: S101 (the callers have looked)
    named = "patternProperties" in field
    full = f"{key}.{EXAMPLE}" if named else key
    yield "\n".join(_lines(key, f"[{full}]", table, values, definitions))
    for name, inner in table["properties"].items():
        if _table(inner, definitions) is not None:
            yield from _blocks(f"{full}.{name}", inner, definitions, {})


def _table(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of a table, or of the tables that are told apart by their names."""
    named = field.get("patternProperties", {}).values()
    holder = next((item for item in field.get("anyOf", ()) if "$ref" in item), field)
    reference = next(iter(named), holder).get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else None


def _lines(
    key: str,
    heading: str,
    table: Mapping[str, Any],
    values: Mapping[str, str],
    definitions: Mapping[str, Any],
) -> Iterator[str]:
    yield from (f"# {line}" for line in textwrap.wrap(table.get("description", ""), 108))
    needed = {"required"} & table.keys() and not values
    yield f"# {heading}" if EXAMPLE in heading or needed else heading
    for name, field in table["properties"].items():
        if _table(field, definitions) is not None:
            continue
        yield from _comment(field)
        if name in values:
            yield f"{name} = {_spelt(values[name])}"
        else:
            shown = next(iter(field.get("examples", ())), field.get("default"))
            yield f"# {name} = {_spelt(EXAMPLES.get(key, {}).get(name, shown))}"


def _comment(field: Mapping[str, Any]) -> list[str]:
    return textwrap.wrap(field.get("description", ""), 108, initial_indent="# ", subsequent_indent="# ")


def _spelt(value: object) -> str:
    """Return a value in TOML: JSON's texts, numbers and lists are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_spelt(item)}" for key, item in value.items()) + " }"
    return json.dumps("" if value is None else value)
