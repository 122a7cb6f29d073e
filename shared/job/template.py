"""What a job file may say, written for people: the commented file to begin with, and the page docs/job.md.

Both come from the schema's own descriptions, so they can't fall behind it.
"""

import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.errors import JobError
from shared.job.schema import JobSpec, parse_job
from shared.json_schema import schema_line, write_schema
from shared.tasks import TASKS
from shared.text.names import NAME, WHAT_A_NAME_IS, as_name, shown, suggestion

Schema = Mapping[str, Any]
PHASE = "training.PHASE"
WITHIN = {
    "task": {"task.stack": "StackTable", "task.unlabelled": "UnlabelledTable", "task.latent": "LatentTable"},
    "model": {"model.lora": "LoraTable"},
    "training": {PHASE: "PhaseTable", "training.adversarial": "AdversarialTable"},
    "evaluation": {"evaluation.groups": "GroupColumn", "evaluation.decisions": "DecisionsTable"},
}
"""Tables within others, which a job begins without, and the names of their schemas."""
TABLES_BEGIN = "<!-- The tables below are written by `make docs` from shared/job/schema.py. -->\n"
KINDS = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "table",
    "array": "list",
}
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


Tables = Mapping[str, Mapping[str, Any] | None]
"""Tables of a job by name; None for one of which the example's keys do not fit."""


def write_job(name: str, task: str, out: Path, given: Callable[[], Tables] = dict) -> Path:
    """Write a commented job file and return its path.

    Args:
        name: Of the job.
        task: That it names.
        out: The file.
        given: As for `new_job_text`.

    Raises:
        JobError: The name or the task is not valid, or the file exists already or can't be written.
    """
    if out.exists():
        raise _exists(out)
    text = new_job_text(name, task, given)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
        write_schema("job", JobSpec, out.parent)
    except FileExistsError:
        raise _exists(out) from None
    except OSError as error:
        raise JobError(f"can't be written ({error.strerror})", where=out) from None
    return out


def new_job_text(name: str, task: str, given: Callable[[], Tables] = dict) -> str:
    """Return the text of a commented job file, which was checked.

    Args:
        name: Of the job.
        task: That it names.
        given: Gives what stands in its tables instead of what the task's example has; asked once the name and
            the task are known to be right.

    Raises:
        JobError: The name or the task is not valid.
    """
    if not re.fullmatch(NAME, name):
        nearest, some = as_name(name), task if task in TASKS else next(iter(TASKS))
        such_as = f"Such as: wardround job new {nearest} --task {some}" if nearest else None
        raise JobError(f"'{shown(name)}' is not a name for a job: {WHAT_A_NAME_IS}", remedy=such_as)
    if task not in TASKS:
        unknown = f"unknown task '{task}'" if task else "a job needs a task: name it with --task"
        raise JobError(f"{unknown}; {suggestion(task, TASKS)}")
    text = job_template(name, task, given())
    parse_job(tomllib.loads(text), where=None)
    return text


def _exists(out: Path) -> JobError:
    return JobError("exists already", where=out, remedy="Name another file with --out.")


def job_template(name: str, task: str, given: Tables | None = None) -> str:
    """Return a job file with every key explained; those that have a default are commented out."""
    example = TASKS[task].example
    start: dict[str, Mapping[str, Any]] = {
        **example,
        "job": {"name": name, "dataset": name, "rounds": 20},
        "task": {"name": task, **example["task"]},
    }
    for table, own in (given or {}).items():
        merged = {} if own is None else {**start.get(table, {}), **own}
        start[table] = {key: value for key, value in merged.items() if value is not None}
    blocks = [
        f"{schema_line('job')}\n"
        "# Check this file with `wardround job check`; what is commented out is a default or an example."
    ]
    schemas = dict(_tables())
    for table, variants in schemas.items():
        for written, own in _written(table, start):
            of_phase = written.startswith("training.")
            blocks.append(_block(written, schemas[PHASE] if of_phase else variants, own))
    return "\n\n".join(blocks) + "\n"


def _written(table: str, start: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the tables of a job file for one of the job: it, and those of its networks or phases."""
    own = start.get(table, {})
    holds_tables = table in ("model", "training")
    within = {key: value for key, value in own.items() if holds_tables and isinstance(value, dict)}
    if not any(table in inner for inner in WITHIN.values()) and (len(within) < len(own) or not own):
        yield table, {key: value for key, value in own.items() if key not in within}
    yield from ((f"{table}.{key}", value) for key, value in within.items())


def _block(table: str, variants: list[Schema], start: Mapping[str, Any]) -> str:
    chosen = next(item for item in variants if _fits(item, start))
    lines = [f"[{table}]"]
    for key, field in sorted(chosen["properties"].items(), key=lambda item: item[0] != "name"):
        names = _names(variants) if key == "name" and table != "job" else []
        lines += [*_comment(field, names), *_assignment(key, field, start)]
    return "\n".join(lines)


def job_tables() -> str:
    """Return every table of a job, and every key in it, in Markdown."""
    sections = []
    for table, variants in _tables():
        if len(variants) == 1:
            sections.append(_section(f"## [{table}]", variants[0], variants[0]["properties"]))
            continue
        common = _common(variants)
        names = ", ".join(f"`{name}`" for name in _names(variants))
        shared_keys = " Keys that all of them have:" if common else ""
        heading = f"## [{table}]\n\n`name` is one of {names}.{shared_keys}"
        sections.append(_section(heading, {}, common))
        for item in variants:
            own = {key: field for key, field in item["properties"].items() if key not in {*common, "name"}}
            title = f"### [{table}] name = {' or '.join(f'`{name}`' for name in _names([item]))}"
            sections.append(_section(title, item, own))
    return "\n".join(sections)


def _tables() -> Iterator[tuple[str, list[Schema]]]:
    """Give each table's name and its schemas: one, or one for each name that the table may have."""
    schema = JobSpec.model_json_schema()
    for table, field in schema["properties"].items():
        references = _choices(field)
        yield table, [_keys_of(schema["$defs"][item["$ref"].rpartition("/")[2]]) for item in references]
        for inner, name in WITHIN.get(table, {}).items():
            yield inner, [schema["$defs"][name]]


def _keys_of(table: Schema) -> Schema:
    """Return the schema of a table without the tables that lie in it, which are shown by themselves."""
    kept = {key: field for key, field in table["properties"].items() if not _is_table(field)}
    return {**table, "properties": kept}


def _is_table(field: Schema) -> bool:
    return any("$ref" in item for item in field.get("anyOf", []))


def _choices(field: Schema) -> list[Schema]:
    """Return the schemas that a table may have; a table of such tables is none of its own."""
    while "oneOf" in field.get("oneOf", [{}])[0]:
        field = field["oneOf"][0]
    return list(field.get("oneOf", [field]))


def _names(variants: list[Schema]) -> list[str]:
    fields = [item["properties"]["name"] for item in variants]
    return [name for field in fields for name in field.get("enum", [field.get("const")])]


def _fits(variant: Schema, start: Mapping[str, Any]) -> bool:
    field = variant["properties"].get("name", {})
    return start.get("name") in field.get("enum", [field.get("const", start.get("name"))])


def _common(variants: list[Schema]) -> dict[str, Schema]:
    first, *others = [item["properties"] for item in variants]
    return {key: field for key, field in first.items() if all(other.get(key) == field for other in others)}


def _comment(field: Schema, names: list[str]) -> list[str]:
    values = f"one of: {', '.join(names)}" if names else _values(field)
    default = f"; default {_default(field)}" if "default" in field else ""
    text = f"{field.get('description', '')} [{values}{default}]".strip()
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _assignment(key: str, field: Schema, start: Mapping[str, Any]) -> list[str]:
    """Return the key with its value; JSON's numbers, texts and lists are TOML's too."""
    if key in start:
        return [f"{key} = {_spelt(start[key])}"]
    value = field.get("default")
    if value is None:
        value = field.get("examples", [None])[0]
    return [] if value is None else [f"# {key} = {_spelt(value)}"]


def _section(heading: str, table: Schema, fields: Mapping[str, Schema]) -> str:
    lines = [heading, ""]
    if "description" in table:
        lines += [" ".join(table["description"].split("\n\n")[0].split()), ""]
    if fields:
        lines += ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in fields.items():
        cells = [
            f"`{key}`",
            _values(field),
            _default(field) if "default" in field else "required",
            field.get("description", ""),
        ]
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + ("\n" if fields else "")


def _default(field: Schema) -> str:
    return "not set" if field["default"] is None else _spelt(field["default"])


def _values(field: Schema) -> str:
    """Return the values that a field may have, in words."""
    inner = next((item for item in field.get("anyOf", []) if item.get("type") != "null"), field)
    if "enum" in inner:
        return f"one of: {', '.join(map(str, inner['enum']))}"
    if "type" not in inner:
        return f"table with a {inner['discriminator']['propertyName']}"
    if inner["type"] != "array":
        return ", ".join([KINDS[inner["type"]], *_bounds(inner)])
    least, most = inner.get("minItems", 0), inner.get("maxItems")
    count = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
    items = inner["items"]
    if "type" not in items:  # tables of one kind, or of one or another
        kinds = f", each with a {items['discriminator']['propertyName']}" if "discriminator" in items else ""
        return f"list of {count} tables{kinds}"
    if "enum" in items:
        return f"list of any of: {', '.join(map(str, items['enum']))}"
    each = f", each {' and '.join(_bounds(items))}" if _bounds(items) else ""
    return f"list of {count} {KINDS[items['type']]}s{each}"


def _bounds(field: Schema) -> list[str]:
    return [f"{words} {field[key]}" for key, words in BOUNDS.items() if key in field]


def _spelt(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_spelt(key)} = {_spelt(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_spelt, value))}]"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Renew the tables of the page whose path is given."""
    page = Path(sys.argv[1])
    prose = page.read_text(encoding="utf-8").partition(TABLES_BEGIN)[0]
    page.write_text(f"{prose}{TABLES_BEGIN}\n{job_tables()}", encoding="utf-8")


if __name__ == "__main__":
    main()
