"""What a job holds where its file says nothing: the defaults of the schema, and which of them it writes out.

Run as a program (`python -m tests.shared.job.schema_record`) it adds what is new since to the record of the
schema; what is in it stays. Do that for a release, not for a change.
"""

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from shared.job.schema import SCHEMA, JobSpec
from shared.table import Table

RECORD = Path(__file__).with_name(f"schema_{SCHEMA}.json")
WRITTEN, LEFT_OUT = "written", "left_out"


def keys() -> dict[str, tuple[Any, str]]:
    """Return each key that a job may leave out: its default, and whether the digest covers that."""
    return dict(_keys(JobSpec, "", ()))


def known() -> dict[str, tuple[Any, str]]:
    """Return the same as it was recorded."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return {key: (default, how) for how, own in record.items() for key, default in own.items()}


def _keys(table: type[Table], path: str, above: tuple[type[Table], ...]) -> Iterator[tuple[str, Any]]:
    for key, field in table.model_fields.items():
        where = f"{path}.{key}" if path else key
        if not field.is_required():
            default = to_jsonable_python(field.get_default(call_default_factory=True))
            yield where, (default, LEFT_OUT if _is_left_out(field) else WRITTEN)
        for inner in dict.fromkeys(_tables(field.annotation)):
            if inner not in above:
                yield from _keys(inner, f"{where}{_name_of(inner)}", (*above, table))


def _tables(annotation: Any) -> Iterator[type[Table]]:
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _tables(part)


def _name_of(table: type[Table]) -> str:
    """Return the name by which a job chooses one of several tables."""
    names = typing.get_args(table.model_fields["name"].annotation) if "name" in table.model_fields else ()
    return f"({'|'.join(names)})" if all(isinstance(name, str) for name in names) and names else ""


def _is_left_out(field: FieldInfo) -> bool:
    return field.exclude_if is not None and bool(
        field.exclude_if(field.get_default(call_default_factory=True))
    )


def main() -> None:
    """Add new keys to the record."""
    found = (known() if RECORD.exists() else {}).copy()
    found = {**keys(), **found}
    parts = []
    for how in (WRITTEN, LEFT_OUT):
        own = [key for key in sorted(found) if found[key][1] == how]
        lines = [f"  {json.dumps(key)}: {json.dumps(found[key][0])}" for key in own]
        parts.append(f' "{how}": {{\n' + ",\n".join(lines) + "\n }")
    RECORD.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
