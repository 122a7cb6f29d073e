"""JSON Schemas of our TOML files, for editors: Even Better TOML and taplo look for a line `#:schema FILE`.

A schema lies beside the file that names it: there is no address to ask, and it is that of the version in use.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from shared.files import READABLE, write_new

Kind = Literal["job", "site", "server"]
_DRAFT = "http://json-schema.org/draft-07/schema#"  # what taplo reads; pydantic writes draft 2020-12


def schema_line(kind: Kind, folder: str = ".") -> str:
    """Return the line that names the schema of a file, for the beginning of it."""
    return f"#:schema {folder}/{kind}.schema.json"


def schema_text(model: type[BaseModel]) -> str:
    """Return the JSON Schema (draft 7) of a file's model."""
    schema = {"$schema": _DRAFT, **_older(model.model_json_schema())}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schema(kind: Kind, model: type[BaseModel], folder: Path) -> None:
    """Write a schema into a folder, unless there is one: it may be that of another version, and in use.

    Raises:
        OSError: It can't be written.
    """
    path = folder / f"{kind}.schema.json"
    if not path.exists():
        write_new(path, schema_text(model).encode(), READABLE)


def _older(schema: Any) -> Any:
    """Spell a schema of draft 2020-12 as draft 7 does."""
    if isinstance(schema, list):
        return [_older(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    older = {_KEYS.get(key, key): _older(value) for key, value in schema.items() if key != "discriminator"}
    if isinstance(reference := older.get("$ref"), str):
        older["$ref"] = reference.replace("#/$defs/", "#/definitions/")
        if len(older) > 1:  # draft 7 looks at nothing beside a reference
            older["allOf"] = [{"$ref": older.pop("$ref")}]
    return older


_KEYS = {"$defs": "definitions", "prefixItems": "items"}
