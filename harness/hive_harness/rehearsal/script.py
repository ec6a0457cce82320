"""Rehearsal scripts: which message is answered by which steps. Data in, data out; no I/O.

A script is TOML: a list of `[[rule]]`, tried in order; the first whose conditions all hold
is played. docs/rehearsal.md describes the format for people who write one.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wake import Wake

VERBS = ("say", "tool", "run", "write", "set")
_RULE_KEYS = {"name", "kind", "from", "body", "reply", "data", "when", "step"}
_STEP_KEYS = {
    "say": {"say"},
    "tool": {"tool", "args", "save"},
    "run": {"run", "save"},
    "write": {"write", "text"},
    "set": {"set"},
}
_VARIABLE = re.compile(r"(?<!\$)\{([a-z_][a-z0-9_.]*)\}")

Variables = Mapping[str, Any]


class ScriptError(ValueError):
    """The script cannot be used, or a step cannot be filled in; the message says where."""


@dataclass(frozen=True)
class Step:
    """One thing to do. `argument` is the value of the verb's key."""

    verb: str
    argument: Any
    args: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    save: str = ""


@dataclass(frozen=True)
class Rule:
    """Conditions, all of which must hold, and the steps."""

    name: str
    kinds: tuple[str, ...] = ()
    sender: re.Pattern[str] | None = None
    body: re.Pattern[str] | None = None
    reply: bool | None = None  # whether the message must answer one of ours
    data: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Script:
    rules: tuple[Rule, ...]

    def match(self, wake: Wake, variables: Variables) -> tuple[int, dict[str, Any]] | None:
        """The place of the rule for a message, and the variables that the message gives."""
        for place, rule in enumerate(self.rules):
            found = _match(rule, wake, variables)
            if found is not None:
                return place, found
        return None


def parse(text: str, file: str) -> Script:
    """Raises ScriptError."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5000 digits is a ValueError
        raise ScriptError(f"{file} is not TOML: {error}") from None
    rules = table.pop("rule", None)
    if table or not isinstance(rules, list) or not rules:
        raise ScriptError(f"{file}: a script is a list of [[rule]] and nothing else")
    return Script(tuple(_rule(raw, f"{file}: rule {n}") for n, raw in enumerate(rules, 1)))


def fill(template: Any, variables: Variables, *, quoted: bool = False) -> Any:
    """`template` with each {variable} replaced, in texts at any depth; quoted for a shell
    if `quoted`. A text that is one variable and nothing else keeps its type. Raises ScriptError for a variable that there is not."""
    if isinstance(template, str):
        whole = _VARIABLE.fullmatch(template)
        if whole is not None and not quoted:
            return _look_up(whole[1], variables)
        return _VARIABLE.sub(lambda found: _value(found[1], variables, quoted), template)
    if isinstance(template, Mapping):
        return {fill(key, variables): fill(item, variables) for key, item in template.items()}
    if isinstance(template, list):
        return [fill(item, variables) for item in template]
    return template


# -- inside --------------------------------------------------------------------


def _value(name: str, variables: Variables, quoted: bool) -> str:
    text = str(_look_up(name, variables))
    return shlex.quote(text) if quoted else text


def _look_up(name: str, variables: Variables) -> Any:
    value: Any = variables
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ScriptError(f"there is no variable {{{name}}} here")
        value = value[part]
    return value


def _match(rule: Rule, wake: Wake, variables: Variables) -> dict[str, Any] | None:
    data = wake.data or {}
    found: dict[str, Any] = {
        "id": wake.id,
        "sender": wake.sender,
        "kind": wake.kind,
        "body": wake.body,
        "thread": wake.thread,
        "data": data,
    }
    if rule.kinds and wake.kind not in rule.kinds:
        return None
    if rule.reply is not None and rule.reply != (wake.in_reply_to is not None):
        return None
    for pattern, text in ((rule.sender, wake.sender), (rule.body, wake.body)):
        if pattern is None:
            continue
        hit = pattern.fullmatch(text) if pattern is rule.sender else pattern.search(text)
        if hit is None:
            return None
        found |= {key: value for key, value in hit.groupdict().items() if value is not None}
    everything = {**variables, **found}
    try:
        if any(data.get(key) != fill(value, everything) for key, value in rule.data.items()):
            return None
        for key, value in rule.when.items():
            if variables.get(fill(key, everything), "") != fill(value, everything):
                return None
    except ScriptError:  # a condition on something that this message does not have
        return None
    return found


def _rule(raw: Any, where: str) -> Rule:
    if not isinstance(raw, dict):
        raise ScriptError(f"{where} is no table")
    name = str(raw.get("name", ""))
    where = f"{where} {name!r}" if name else where
    _known(raw, _RULE_KEYS, where)
    kind = raw.get("kind", [])
    steps = raw.get("step", [])
    for key in ("data", "when"):
        if not isinstance(raw.get(key, {}), dict):
            raise ScriptError(f"{where}: {key} is no table")
    if not isinstance(steps, list):
        raise ScriptError(f"{where}: step is no list; write [[rule.step]]")
    return Rule(
        name=name,
        kinds=(kind,) if isinstance(kind, str) else tuple(kind),
        sender=_pattern(raw, "from", where),
        body=_pattern(raw, "body", where),
        reply=raw.get("reply"),
        data=raw.get("data", {}),
        when=raw.get("when", {}),
        steps=tuple(_step(step, f"{where}, step {n}") for n, step in enumerate(steps, 1)),
    )


def _step(raw: Any, where: str) -> Step:
    verbs = [verb for verb in VERBS if isinstance(raw, dict) and verb in raw]
    if len(verbs) != 1:
        raise ScriptError(f"{where} has exactly one of {', '.join(VERBS)}")
    verb = verbs[0]
    _known(raw, _STEP_KEYS[verb], where)
    wanted: type = dict if verb == "set" else str
    if not isinstance(raw[verb], wanted) or not isinstance(raw.get("args", {}), dict):
        raise ScriptError(f"{where}: {verb} or its args have the wrong type")
    return Step(verb, raw[verb], raw.get("args", {}), raw.get("text", ""), raw.get("save", ""))


def _known(raw: Mapping[str, Any], keys: set[str], where: str) -> None:
    for key in raw:
        if key not in keys:
            raise ScriptError(f"{where}: {key} is no key here; there are {', '.join(sorted(keys))}")


def _pattern(raw: Mapping[str, Any], key: str, where: str) -> re.Pattern[str] | None:
    if key not in raw:
        return None
    try:
        return re.compile(raw[key], re.IGNORECASE)
    except (re.error, TypeError) as error:
        raise ScriptError(f"{where}: {key} is no regular expression: {error}") from None
