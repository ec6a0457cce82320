"""agent.toml: what one agent is to be. The model is the reference; docs are made from it."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from .names import EVERYONE, OPERATOR, is_name, is_uid, name_problem
from .terms import Budget, EngineName, NetworkMode, Part, Role, State

MIB = 1 << 20
_SIZE = re.compile(r"([1-9][0-9]{0,6})([KMGT])")
_UNIT = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Takes(StrEnum):
    """When a change of a field takes effect."""

    RESTART = "restart"  # the container is drained, stopped and started
    IN_PLACE = "in-place"  # at once, without the agent noticing
    NEXT_TURN = "next-turn"  # the harness reads it before its next turn
    STATE = "state"  # starts or stops the container


def parse_size(text: str) -> int:
    """Bytes of "512M", "2G". Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'{text[:40]!r} is no size; write a number and K, M, G or T, as in "2G"')
    return int(match[1]) * _UNIT[match[2]]


def _size(text: str) -> str:
    if parse_size(text) < 64 * MIB:
        raise ValueError("less than 64M does not hold an agent")
    return text


def _uid(uid: str) -> str:
    if not is_uid(uid):
        raise ValueError("a uid is 12 characters of a-z and 0-9, and the reconciler sets it")
    return uid


def _recipient(name: str) -> str:
    if name not in (EVERYONE, OPERATOR) and not is_name(name):
        raise ValueError(name_problem(name) or "no recipient")
    return name


def _file_name(name: str) -> str:
    if "/" in name or name.startswith(".") or not name.isprintable():
        raise ValueError("names a file beside agent.toml, without '/' and not hidden")
    if name == "agent.toml" or name.endswith(".nix"):  # shown, and ranked, as what they are
        raise ValueError("names a text: agent.toml and Nix files are read as what they are")
    return name


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("is one line of printable text")
    return text


Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
_TOOL = r"^[A-Z][A-Za-z]{1,39}$"
Rule = Annotated[
    str,
    Field(pattern=r"^[A-Z][A-Za-z]{1,39}(\([^()\n]{1,500}\))?$"),
    AfterValidator(_one_line),
]
_takes = {t: {"takes": t.value} for t in Takes}


class Tools(Part):
    builtin: Annotated[
        tuple[Annotated[str, Field(pattern=_TOOL)], ...],
        Field(
            max_length=32,
            description="Tools of the engine itself; web and task tools only if named here",
        ),
    ] = ("Bash", "Read", "Edit", "Write", "Glob", "Grep")
    ask: Annotated[
        tuple[Annotated[str, Field(pattern=_TOOL)], ...],
        Field(
            max_length=32,
            description="Of `builtin`: a person is asked before each use, unless a rule of `allow` fits",
        ),
    ] = ()
    allow: Annotated[
        tuple[Rule, ...],
        Field(
            max_length=200,
            description="Uses that nobody is asked about: `Tool`, or `Bash(the exact command)`",
        ),
    ] = ()

    @model_validator(mode="after")
    def _asks_for_what_there_is(self) -> Self:
        missing = [tool for tool in self.ask if tool not in self.builtin]
        if missing:
            raise ValueError(f"ask names {missing[0]}, which is not in builtin")
        return self


class Session(Part):
    compact_at: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Share of the model's window at which the agent writes /state/notes.md "
            "and its conversation is shortened",
        ),
    ] = 0.7
    when_cold: Annotated[
        Literal["resume", "notes"],
        Field(
            description="A conversation over 50,000 tokens that rested for an hour: go on with "
            "it, or begin anew from the notes that were taken meanwhile, which costs less"
        ),
    ] = "resume"


class Limits(Part):
    memory: Annotated[str, AfterValidator(_size), Field(description="Memory of the container")] = (
        "2G"
    )
    cpus: Annotated[float, Field(gt=0, le=1024, description="Cores the container may use")] = 1.0
    tasks: Annotated[
        int,
        Field(
            ge=16,
            le=65536,
            description="Processes and threads. With the runtime `process`, fewer hold at once and "
            "more from the next start on (`hive restart NAME`)",
        ),
    ] = 256

    @property
    def memory_bytes(self) -> int:
        return parse_size(self.memory)


class Network(Part):
    mode: Annotated[
        NetworkMode,
        Field(
            description='"none": only model.sock; "private": own namespace and NAT; "host": a named risk'
        ),
    ] = "none"


class AgentSpec(Part):
    """One agent, after `[defaults]` of hive.toml were filled in."""

    role: Annotated[
        Role,
        Field(
            description="Exactly one agent is the manager", json_schema_extra=_takes[Takes.RESTART]
        ),
    ] = "agent"
    uid: Annotated[
        str | None,
        AfterValidator(lambda u: u if u is None else _uid(u)),
        Field(
            description="Set by the reconciler, never by hand",
            json_schema_extra=_takes[Takes.RESTART],
        ),
    ] = None
    description: Annotated[
        Line,
        Field(
            description="One line for people and other agents",
            json_schema_extra=_takes[Takes.NEXT_TURN],
        ),
    ] = ""
    state: Annotated[
        State,
        Field(description="Whether the container runs", json_schema_extra=_takes[Takes.STATE]),
    ] = "running"
    restarts: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            description="Raise it to restart",
            json_schema_extra=_takes[Takes.RESTART],
        ),
    ] = 0
    engine: Annotated[
        EngineName, Field(description="What runs a turn", json_schema_extra=_takes[Takes.RESTART])
    ] = "claude"
    model: Annotated[
        Line,
        Field(
            min_length=1,
            description="Model that the engine asks for",
            json_schema_extra=_takes[Takes.NEXT_TURN],
        ),
    ] = "claude-sonnet-5"
    prompt: Annotated[
        str,
        AfterValidator(_file_name),
        Field(
            max_length=80,
            description="File with the role text, beside agent.toml",
            json_schema_extra=_takes[Takes.NEXT_TURN],
        ),
    ] = "prompt.md"
    may_send_to: Annotated[
        tuple[Annotated[str, AfterValidator(_recipient)], ...],
        Field(
            max_length=1000,
            description='Names it may write to; "everyone" allows all',
            json_schema_extra=_takes[Takes.IN_PLACE],
        ),
    ] = (EVERYONE,)
    tools: Annotated[Tools, Field(json_schema_extra=_takes[Takes.NEXT_TURN])] = Tools()
    session: Annotated[Session, Field(json_schema_extra=_takes[Takes.NEXT_TURN])] = Session()
    limits: Annotated[Limits, Field(json_schema_extra=_takes[Takes.IN_PLACE])] = Limits()
    budget: Annotated[Budget, Field(json_schema_extra=_takes[Takes.IN_PLACE])] = Budget()
    network: Annotated[Network, Field(json_schema_extra=_takes[Takes.RESTART])] = Network()


@cache
def takes(field: str) -> Takes:
    """When a change of `field` (top-level key of agent.toml) takes effect."""
    extra = AgentSpec.model_fields[field].json_schema_extra
    assert isinstance(extra, dict)
    return Takes(str(extra["takes"]))
