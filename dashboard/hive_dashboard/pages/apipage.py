"""The API for people: each operation, what it takes, what it answers."""

from __future__ import annotations

import json
from typing import Any

from ..html import Child, Element, h, leet
from .common import AssetUrl, View, notices, page
from .shell import bar, log_out

_KIND = {"get": "idle", "post": "ok"}


def api_page(view: View, asset: AssetUrl, document: dict[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    rows = [
        _operation(method, path, operation, schemas)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    body = h(
        "div.body.col",
        h("p.say", document["info"]["description"]),
        h(
            "p",
            "As a document: ",
            h("a.s-idle.c", "/api/v1/openapi.json", href="/api/v1/openapi.json"),
            ". Events as they happen: ",
            h("code", "/events"),
            " (server-sent). Figures: ",
            h("a.s-idle.c", "/metrics", href="/metrics"),
            ".",
        ),
        h("div.ops", rows),
    )
    header = h("header", h("h1", leet("⌗ 4P1", "API")))
    return page(
        asset,
        "API · hyperhive",
        [
            bar(view, "api", log_out()),
            h(
                "main.plainpage",
                notices(view),
                h("section.pan.s-idle", header, body),
                id="main",
            ),
        ],
        script="plain.js",
    )


def _operation(
    method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]
) -> Element:
    body = operation.get("requestBody")
    wish = body["content"]["application/json"]["schema"] if body else None
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return h(
        "details.diff",
        h(
            f"summary.fh.s-{_KIND[method]}",
            h("b.c", method.upper()),
            h("span.hi.el", path),
            h("span.dim.grow.r.el.hide-m", operation["summary"]),
        ),
        h(
            "div.body.col",
            h("p", operation["summary"]),
            [
                h(
                    "p",
                    h("code", p["name"]),
                    h("span.dim", f" in {p['in']}: {json.dumps(p['schema'])}"),
                )
                for p in operation["parameters"]
            ],
            _schema("takes", wish, schemas) if wish else None,
            _schema("answers", answer, schemas),
        ),
        id=operation["operationId"],
    )


def _schema(words: str, schema: dict[str, Any], schemas: dict[str, Any]) -> list[Child]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    shown = schemas.get(name, schema)
    return [
        h("p.dim", f"{words} ", h("b.hi", name)),
        h("div.out", json.dumps(shown.get("properties", {}), indent=1, ensure_ascii=False)),
    ]
