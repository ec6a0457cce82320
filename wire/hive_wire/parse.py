"""From TOML text to models, with errors that name file, line, key and a near miss."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .hivetoml import DEFAULTABLE, HiveToml
from .spec import AgentSpec

MAX_TOML = 256 << 10
MAX_PROBLEMS = 50  # told of one file
# A key of so many parts that tomllib would be busy with it for minutes.
_ENDLESS = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class SpecProblem:
    """One thing that is wrong in one file. `line` counts from 1; 0 when unknown."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SpecError(Exception):
    """A file that cannot be used, with the problems found."""

    def __init__(self, problems: Iterable[SpecProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def parse_agent(data: bytes, file: str, defaults: dict[str, Any] | None = None) -> AgentSpec:
    """The spec in `data`, over `defaults`. Raises SpecError."""
    text, table = _load(data, file)
    return _validate(AgentSpec, _over(defaults or {}, table), file, text)


def parse_hive(data: bytes, file: str = "hive.toml") -> HiveToml:
    """The swarm's settings. Raises SpecError, also for a bad `[defaults]` or template."""
    text, table = _load(data, file)
    templates = table.get("templates")
    if isinstance(templates, dict):  # keys of agent.toml and prompt_text stand side by side
        table = {**table, "templates": {n: _template(t) for n, t in templates.items()}}
    hive = _validate(HiveToml, table, file, text)
    _check_defaults(hive.defaults, file, text, "defaults")
    for name, template in hive.templates.items():
        _check_defaults({**hive.defaults, **template.agent}, file, text, f"templates.{name}")
    return hive


def parse_settings(model: type[M], data: bytes, file: str) -> M:
    """The settings file of one process. Raises SpecError."""
    text, table = _load(data, file)
    return _validate(model, table, file, text)


def _template(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    agent = {key: value for key, value in table.items() if key != "prompt_text"}
    return {"agent": agent, "prompt_text": table.get("prompt_text", "")}


def _check_defaults(table: dict[str, Any], file: str, text: str, prefix: str) -> None:
    for key in table:
        if key not in DEFAULTABLE:
            message = (
                "is set for each agent, not here"
                if key in ("role", "uid")
                else _unknown(key, DEFAULTABLE)
            )
            raise SpecError([SpecProblem(file, _line_of(text, key), f"{prefix}.{key}", message)])
    _validate(AgentSpec, table, file, text, prefix)


def _load(data: bytes, file: str) -> tuple[str, dict[str, Any]]:
    if len(data) > MAX_TOML:
        raise SpecError([SpecProblem(file, 0, "", f"is larger than {MAX_TOML >> 10} KiB")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError([SpecProblem(file, line, "", "is not UTF-8 text")]) from None
    if found := _ENDLESS.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise SpecError([SpecProblem(file, line, "", "has a key of a hundred parts, or looks so")])
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else 0
        raise SpecError([SpecProblem(file, line, "", f"is not TOML: {error}")]) from None


def _validate(model: type[M], table: dict[str, Any], file: str, text: str, prefix: str = "") -> M:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        found = error.errors(include_url=False)
        told = [_problem(model, e, file, text, prefix) for e in found[:MAX_PROBLEMS]]
        if more := len(found) - len(told):
            told.append(SpecProblem(file, 0, "", f"{more} more problems"))
        raise SpecError(told) from None


def _problem(model: type[BaseModel], error: Any, file: str, text: str, prefix: str) -> SpecProblem:
    path = [str(part) for part in error["loc"]]
    key = ".".join([prefix, *path] if prefix else path)
    named = [part for part in path if not part.isdigit()]
    line = _line_of(text, named[-1]) if named else 0
    if error["type"] == "extra_forbidden":
        return SpecProblem(file, line, key, _unknown(named[-1], _known(model, named[:-1])))
    message = str(error["msg"]).removeprefix("Value error, ")
    return SpecProblem(file, line, key, message)


def _known(model: type[BaseModel], path: list[str]) -> Iterable[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ()
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1, 0.6)
    return f"is no key here; did you mean {near[0]!r}?" if near else "is no key here"


def _line_of(text: str, key: str) -> int:
    pattern = re.compile(
        rf"^\s*(?:\[+\s*)?(?:[\w.-]+\.)?[\"']?{re.escape(key)}[\"']?\s*(?:=|\]|\.)"
    )
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 0


def _over(defaults: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """`table` laid over `defaults`, table by table."""
    merged = dict(defaults)
    for key, value in table.items():
        below = merged.get(key)
        merged[key] = (
            _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged
