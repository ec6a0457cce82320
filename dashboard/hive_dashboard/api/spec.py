"""The API as an OpenAPI 3.1 document, made from the same tables that serve it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from ..acts.table import ACTIONS, Action
from .answers import Done, Problem, Query
from .reads import READS, Read

PREFIX = "/api/v1"
_REF = "#/components/schemas/{model}"
_PATH = {
    "n": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "name": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,8}$"},
}
_PROBLEMS = {
    "401": "nobody is logged in",
    "403": "refused",
    "404": "there is no such thing",
    "409": "it changed since it was looked at, or was decided already",
    "413": "larger than 256 KiB",
    "415": "not JSON",
    "422": "not as described here",
    "502": "the process answered something else",
    "503": "the process that knows is away, or busy",
    "504": "the process did not answer within 20 s",
}
_READING = ("401", "404", "422", "502", "503", "504")


def openapi(cookie: str) -> dict[str, Any]:
    """`cookie` is the name of the session's."""
    reads = [(read.answer, "serialization") for read in READS]
    wishes = [(action.wish, "validation") for action in ACTIONS]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *dict.fromkeys(reads),  # type: ignore[list-item]
        *dict.fromkeys(wishes),  # type: ignore[list-item]
        (Done, "serialization"),
        (Problem, "serialization"),
    ]
    refs, schemas = models_json_schema(models, ref_template=_REF)
    paths: dict[str, Any] = {}
    for read in READS:
        paths[PREFIX + read.path] = {"get": _read(read, refs[read.answer, "serialization"])}
    for action in ACTIONS:
        wish = refs[action.wish, "validation"]
        paths.setdefault(PREFIX + action.path, {})["post"] = _action(
            action, wish, refs[Done, "serialization"]
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hyperhive",
            "version": "1",
            "description": "All that the pages show and do. A session's cookie says who asks; "
            "a POST needs an Origin of these pages (or Sec-Fetch-Site: same-origin), too.",
        },
        "security": [{"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": cookie}},
        },
    }


def _read(read: Read, answer: Any) -> dict[str, Any]:
    return {
        "operationId": read.get.__name__,
        "summary": read.summary,
        "parameters": [*_path(read.path), *_query(read.query)],
        "responses": {"200": _json(answer, read.summary), **_problems(_READING)},
    }


def _action(action: Action, wish: Any, done: Any) -> dict[str, Any]:
    needed = any(field.is_required() for field in action.wish.model_fields.values())
    return {
        "operationId": f"do_{action.act.__name__}",
        "summary": action.summary,
        "parameters": _path(action.path),
        "requestBody": {"required": needed, "content": {"application/json": {"schema": wish}}},
        "responses": {"200": _json(done, "done"), **_problems(_PROBLEMS)},
    }


def _path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PATH.items()
        if f"{{{name}}}" in path
    ]


def _query(model: type[Query]) -> list[dict[str, Any]]:
    fields = model.model_json_schema()["properties"] if model.model_fields else {}
    return [
        {"name": name, "in": "query", "required": False, "schema": _plain(schema)}
        for name, schema in fields.items()
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Null is to leave it out: a query has no other way to say it."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return choices[0] if choices else {k: v for k, v in schema.items() if k != "title"}


def _problems(codes: Any) -> dict[str, Any]:
    return {code: _json({"$ref": _REF.format(model="Problem")}, _PROBLEMS[code]) for code in codes}


def _json(schema: Any, words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}
