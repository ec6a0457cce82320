"""Writes the pages of this directory from the models that the reconciler checks files with.

.venv/bin/python docs/reference/make.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from hive_wire.hivetoml import HiveToml
from hive_wire.parse import parse_agent, parse_hive
from hive_wire.spec import AgentSpec, Takes

HERE = Path(__file__).parent
Schema = Mapping[str, Any]

_WHEN = {
    Takes.RESTART: "after a restart at the end of the turn",
    Takes.IN_PLACE: "at once",
    Takes.NEXT_TURN: "with the next turn",
    Takes.STATE: "starts or stops the container",
}

_AGENT = """# agent.toml

`agents/<name>/agent.toml` says what one agent is to be. Every key may be left out: then `[defaults]` of [hive.toml](hive-toml.md) counts, then the default below. Unknown keys are refused, with the line and the nearest key that exists. Sizes are a number and `K`, `M`, `G` or `T`.

{tables}
## All defaults

```toml
{example}```

This page is made from `hive_wire/spec.py` by `docs/reference/make.py`.
"""

_HIVE = """# hive.toml

`hive.toml` at the root of the applied branch says what holds for the whole swarm. A proposal is judged by the hive.toml that is applied, never by the one that it brings. Unknown keys are refused.

| key | values | default | meaning |
|---|---|---|---|
| `schema` | `1` | required | Version of this format |

{tables}
## `[defaults]`

Any key of [agent.toml](agent-toml.md) but `role` and `uid`. An agent's own keys count more, key by key, also inside tables.

## `[templates.<name>]`

What `hive spawn --set template=<name>` and `request_spawn` fill in: keys of [agent.toml](agent-toml.md) but `role` and `uid`, and `prompt_text`, the text of the new prompt.md (at most {prompt_max} characters).

## All defaults

```toml
{example}```

This page is made from `hive_wire/hivetoml.py` by `docs/reference/make.py`.
"""


def pages() -> dict[str, str]:
    """{file name: text}."""
    hive = HiveToml.model_json_schema()
    agent = AgentSpec.model_json_schema()
    return {"agent-toml.md": agent_page(agent), "hive-toml.md": hive_page(hive)}


def agent_page(schema: Schema) -> str:
    head = "| key | values | default | meaning | a change takes effect |\n|---|---|---|---|---|\n"
    tables = {"": "", **dict.fromkeys(_parts(schema), "")}
    for table, key, field, takes in _agent_fields(schema):
        tables[table] += f"{_row(key, field)} {_WHEN[Takes(takes)]} |\n"
    text = "\n".join(
        (f"## `[{name}]`\n\n" if name else "") + head + rows for name, rows in tables.items()
    )
    example = tomli_w.dumps(_tables_last(AgentSpec().model_dump(mode="json", exclude_none=True)))
    assert parse_agent(example.encode(), "the example") == AgentSpec()
    return _AGENT.format(tables=text, example=example)


def hive_page(schema: Schema) -> str:
    head = "| key | values | default | meaning |\n|---|---|---|---|\n"
    text = ""
    for name, part in _parts(schema).items():
        rows = "".join(f"{_row(key, field)}\n" for key, field in part["properties"].items())
        text += f"## `[{name}]`\n\n{head}{rows}\n"
    everything = HiveToml.model_validate({"schema": 1}).model_dump(mode="json", by_alias=True)
    filled = {key: value for key, value in everything.items() if value != {}}
    example = tomli_w.dumps(_tables_last(filled))
    assert parse_hive(example.encode()) == HiveToml.model_validate({"schema": 1})
    prompt = schema["$defs"]["Template"]["properties"]["prompt_text"]
    return _HIVE.format(
        tables=text.rstrip() + "\n", example=example, prompt_max=prompt["maxLength"]
    )


def _agent_fields(schema: Schema) -> Iterator[tuple[str, str, Schema, str]]:
    """(table, key, field, takes); the keys of a table take effect as the table does."""
    parts = _parts(schema)
    for name, field in schema["properties"].items():
        if name not in parts:
            yield "", name, field, field["takes"]
    for name, part in parts.items():
        for key, field in part["properties"].items():
            yield name, key, field, schema["properties"][name]["takes"]


def _parts(schema: Schema) -> dict[str, Schema]:
    """The tables of a file, with their schemas."""
    return {
        name: schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
        for name, field in schema["properties"].items()
        if "$ref" in field
    }


def _row(key: str, field: Schema) -> str:
    cells = (f"`{key}`", _values(field), _default(field), field["description"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _values(field: Schema) -> str:
    if "enum" in field or "const" in field:
        return ", ".join(f"`{_toml(v)}`" for v in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        return _values(next(one for one in field["anyOf"] if one["type"] != "null"))
    kind = field["type"]
    if kind == "array":
        inner = field["items"]
        most = f", at most {field['maxItems']:,}" if "maxItems" in field else ""
        return f"list of {_values(inner) if 'enum' in inner or 'const' in inner else 'texts'}{most}"
    if kind == "boolean":
        return "`true`, `false`"
    words = {"string": "text", "integer": "whole number", "number": "number"}[kind]
    return f"{words}{_bounds(field)}"


def _bounds(field: Schema) -> str:
    text = f" from {field['minimum']:,}" if "minimum" in field else ""
    if "exclusiveMinimum" in field:
        text += f" over {field['exclusiveMinimum']:,}"
    if "maximum" in field:
        text += f", at most {field['maximum']:,}"
    return text + (f", at most {field['maxLength']} characters" if "maxLength" in field else "")


def _default(field: Schema) -> str:
    return "none" if field.get("default") is None else f"`{_toml(field['default'])}`"


def _toml(value: Any) -> str:
    return json.dumps(value)  # the same as TOML for what defaults are made of


def _tables_last(table: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(table.items(), key=lambda item: isinstance(item[1], dict)))


def main() -> None:
    for name, text in pages().items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
