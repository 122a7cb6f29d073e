"""Validation errors of a job or a site file, in words a person can act on."""

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.names import suggestion


def describe(error: ValidationError, root: type[BaseModel]) -> str:
    """Return one line a problem: table, key, what is wrong, what was expected, the nearest valid name."""
    lines = [_line(dict(problem), root) for problem in error.errors(include_url=False)]
    if len(lines) == 1:
        return lines[0]
    return f"{len(lines)} problems\n" + "\n".join(f"  {line}" for line in lines)


def _line(problem: dict[str, Any], root: type[BaseModel]) -> str:
    path = [str(part) for part in problem["loc"]]
    kind, context, given = problem["type"], problem.get("ctx", {}), problem.get("input")
    model, keys = _descend(root, path[:-1] if kind == "extra_forbidden" else path)
    if kind == "extra_forbidden":
        known = list(model.model_fields) if model else []
        place = _place([*keys, path[-1]])
        return f"{place}: unknown {'table' if not keys else 'key'}; {suggestion(path[-1], known)}"
    place = _place(keys)
    if kind in ("union_tag_invalid", "literal_error"):
        names = [name.strip(" '") for name in _expected(context).replace(" or ", ", ").split(",")]
        tag = given.get("name") if isinstance(given, dict) else given
        where = f"{place} name" if kind == "union_tag_invalid" else place
        return f"{where}: unknown name '{tag}'; {suggestion(str(tag), names)}"
    if kind == "union_tag_not_found":
        return f"{place} name: is missing"
    if kind == "missing":
        return f"{place}: is missing"
    if kind == "value_error":
        return f"{place} {context['error']}".strip()
    return f"{place}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {given!r}"


def _expected(context: dict[str, Any]) -> str:
    return str(context.get("expected_tags") or context.get("expected", ""))


def _place(keys: list[str]) -> str:
    if not keys:
        return ""
    return f"[{keys[0]}]" + (f" {'.'.join(keys[1:])}" if keys[1:] else "")


def _descend(root: type[BaseModel], path: list[str]) -> tuple[type[BaseModel] | None, list[str]]:
    """Follow a location; drop the tags that pydantic inserts for the members of a union."""
    model: type[BaseModel] | None = root
    keys: list[str] = []
    members: dict[str, type[BaseModel]] = {}
    for part in path:
        if part in members:
            model, members = members[part], {}
            continue
        keys.append(part)
        if model is None or part not in model.model_fields:
            if not (keys and part.isdigit()) and not _is_mapping(model):
                model = None
            continue
        found = _models(model.model_fields[part].annotation)
        members = {tag: item for item in found for tag in _tags(item)}
        model = found[0] if len(found) == 1 and not members else None
        if len(found) == 1:
            model = found[0]
    return model, keys


def _is_mapping(model: type[BaseModel] | None) -> bool:
    return model is not None


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated, dict, list):
        return [model for item in typing.get_args(annotation) for model in _models(item)]
    return []


def _tags(model: type[BaseModel]) -> list[str]:
    field = model.model_fields.get("name")
    return [str(tag) for tag in typing.get_args(field.annotation)] if field else []
