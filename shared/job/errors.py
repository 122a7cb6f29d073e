"""Validation errors of a job or a site file, in words a person can act on."""

import json
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from shared.table import ONE, SEVERAL
from shared.text.names import LABEL, NAME, WHAT_A_NAME_IS, suggestion

EXPECTED = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a table"),
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "list_type": "must be a list in [ ]",
    "finite_number": "must be a finite number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "needs {min_length} or more entries",
    "too_long": "can have {max_length} entries",
    "string_pattern_mismatch": "must match {pattern}",
}
SHOWN = 60  # characters of a wrong value that a message repeats
MOST_PROBLEMS = 20  # that a message lists
LONGEST_LINE = 600  # characters for one of them: a listing of names fits


class _Spot(NamedTuple):
    """Where a problem is: the keys as the user wrote them, the table that holds the last, and its field."""

    keys: list[str]
    owner: type[BaseModel]
    field: FieldInfo | None


def describe(error: ValidationError, root: type[BaseModel]) -> str:
    """Return one line per problem: table, key, what is wrong, what was expected, the nearest valid name.

    Of many problems the first ones are described, and the others counted.
    """
    problems = error.errors(include_url=False)
    lines = [_cut(_line(dict(problem), root)) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) == 1:
        return lines[0]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return f"{len(problems)} problems\n" + "\n".join(f"  {line}" for line in lines)


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def _line(problem: dict[str, Any], root: type[BaseModel]) -> str:
    kind, context, given = problem["type"], problem.get("ctx", {}), problem.get("input")
    spot = _find(root, problem["loc"])
    place = _place(spot.keys)
    if kind == "extra_forbidden":
        return _unknown_key(spot, given, root)
    if kind == "value_error":
        return f"{place} {context['error']}".strip()
    if kind == "union_tag_not_found":
        return f"{place} name: is missing{_meaning(spot.field)}"
    if kind == "union_tag_invalid":
        return f"{place} name: {_unknown_name(context['tag'], context['expected_tags'])}"
    return f"{place}: {_reason(kind, context, given, spot)}"


def _reason(kind: str, context: dict[str, Any], given: object, spot: _Spot) -> str:
    if kind == "missing":
        return "the table is missing" if len(spot.keys) == 1 else f"is missing{_meaning(spot.field)}"
    if kind == "literal_error" and isinstance(given, str) and "'" in context["expected"]:
        return _unknown_name(given, context["expected"])
    expected = EXPECTED[kind].format(**context) if kind in EXPECTED else "is not valid"
    if context.get("pattern") == NAME:
        expected = f"must be a name: {WHAT_A_NAME_IS}"
    if context.get("pattern") == LABEL:
        expected = "must be a line of at most 64 letters, digits and simple signs"
    meaning = _meaning(spot.field) if kind == "string_pattern_mismatch" else ""
    return f"{expected}, got {_shown(given)}{meaning}"


def _unknown_key(spot: _Spot, given: object, root: type[BaseModel]) -> str:
    """Say where an unknown key belongs: it may be misspelt, or stand in the wrong table."""
    key, place, top = spot.keys[-1], _place(spot.keys), spot.keys[0].partition(".")[0]
    home = _home(root, key)
    if len(spot.keys) == 1 and not isinstance(given, dict):
        return f"{key}: stands outside any table" + (f"; it belongs under [{home}]" if home else "")
    if len(spot.keys) == 1:
        return f"{place}: unknown table; {suggestion(key, root.model_fields)}"
    siblings = [item for item in _models(root.model_fields[top].annotation) if key in item.model_fields]
    tags = [tag for item in siblings for tag in _tags(item)]
    if home == top and tags:
        return f"{place}: is for {' and '.join(tags)} only"
    if home:
        return f"{place}: unknown key; it belongs under [{home}]"
    return f"{place}: unknown key; {suggestion(key, spot.owner.model_fields)}"


def _home(root: type[BaseModel], key: str) -> str | None:
    """Return the table of `root` that has this key; None where no table or several have it."""
    tables = [
        name
        for name, field in root.model_fields.items()
        if any(key in model.model_fields for model in _models(field.annotation))
    ]
    return tables[0] if len(tables) == 1 else None


def _unknown_name(given: str, expected: str) -> str:
    names = [name.strip(" '") for name in expected.replace(" or ", ", ").split(",")]
    return f"unknown name {_shown(given)}; {suggestion(given, names)}"


def _shown(value: object) -> str:
    """Spell a value as TOML does, short enough for a line."""
    if isinstance(value, str):
        value = value[: SHOWN + 1]  # as long as it takes to be cut below
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _meaning(field: FieldInfo | None) -> str:
    """Return what the field is for, or the names it may have, in brackets."""
    if field is None:
        return ""
    literal = typing.get_origin(field.annotation) is typing.Literal
    members = _models(field.annotation)
    names = (
        list(typing.get_args(field.annotation))
        if literal
        else [tag for item in members for tag in _tags(item)]
    )
    text = f"one of: {', '.join(names)}" if names else (field.description or "").rstrip(".")
    return f" ({text})" if text else ""


def _place(keys: list[str]) -> str:
    if not keys:
        return ""
    *inner, last = keys
    if last.isdigit():
        return f"{_place(inner)}, entry {int(last) + 1}"
    return f"[{keys[0]}]" + (f" {'.'.join(keys[1:])}" if inner else "")


def _find(root: type[BaseModel], location: Sequence[int | str]) -> _Spot:
    """Follow a location of pydantic's, without the tags that it puts in for the members of a union."""
    spot, models = _Spot([], root, None), [root]
    within = False
    for part in map(str, location):
        if part in (ONE, SEVERAL):
            within = part == SEVERAL
            if inner := _table_of_tables(models):
                spot, models = spot._replace(field=inner), _models(inner.annotation)
            continue
        if within:  # a table of its own: [model.generator]
            spot, within = spot._replace(keys=[f"{spot.keys[0]}.{part}"]), False
            continue
        tagged = [model for model in models if part in _tags(model)]
        if len(models) > 1 and tagged:
            models = tagged
            continue
        field = models[0].model_fields.get(part) if len(models) == 1 else None
        spot = _Spot([*spot.keys, part], models[0] if models else root, field)
        models = _models(field.annotation) if field else models
    return spot


def _table_of_tables(models: Sequence[type[BaseModel]]) -> FieldInfo | None:
    """Return the field that stands for tables of any name within a table."""
    fields = models[0].model_fields.values() if len(models) == 1 else ()
    return next((field for field in fields if field.validation_alias == SEVERAL), None)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names, alone, in a union or in a container."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(model for item in typing.get_args(annotation) for model in _models(item)))


def _tags(model: type[BaseModel]) -> list[str]:
    """Return the names by which a union tells this model from its other members."""
    field = model.model_fields.get("name")
    return [str(tag) for tag in typing.get_args(field.annotation)] if field else []
