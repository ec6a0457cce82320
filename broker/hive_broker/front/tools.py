"""The hive tools as a model sees them: names, words, arguments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hive_wire.protocol import MAX_BODY

Name = Annotated[str, Field(min_length=1, max_length=64)]
Id = Annotated[int, Field(ge=1, lt=1 << 53)]
Reason = Annotated[str, Field(max_length=4000)]


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Send(Arguments):
    to: Annotated[Name, Field(description='An agent\'s name, "operator", or "everyone"')]
    body: Annotated[str, Field(description=f"The text, at most {MAX_BODY >> 10} KiB")]
    in_reply_to: Annotated[
        Id | None, Field(description="Id of the message that this one answers")
    ] = None


class Recv(Arguments):
    max: Annotated[int, Field(ge=1, le=50, description="At most so many messages")] = 10
    wait_seconds: Annotated[
        float, Field(ge=0, le=30, description="Wait so long for one when there is none")
    ] = 0.0


class AskOperator(Arguments):
    question: Annotated[str, Field(min_length=1, max_length=8000)]
    options: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
        Field(max_length=20, description="Answers to choose from; free text is always possible"),
    ] = ()
    multi: Annotated[bool, Field(description="Several options may be chosen")] = False
    ttl_seconds: Annotated[
        float | None,
        Field(ge=1, le=90 * 86400, description="Expire unanswered after this; default never"),
    ] = None


class WithdrawQuestion(Arguments):
    id: Annotated[Id, Field(description="As ask_operator gave it")]


class Remind(Arguments):
    body: Annotated[str, Field(description="What you want to be told")]
    at: Annotated[
        str | None,
        Field(description='Once: "2031-05-01T09:00:00Z", or after a span: "90s" "10m" "2h" "1d"'),
    ] = None
    every: Annotated[str | None, Field(description='Again and again: "10m" "2h" "1d"')] = None


class CancelReminder(Arguments):
    id: Annotated[Id, Field(description="As remind gave it")]


class RequestSpawn(Arguments):
    name: Annotated[Name, Field(description="1 to 9 characters of a-z, 0-9 and -")]
    description: Annotated[
        str, Field(max_length=200, description="One line: what the agent is for")
    ]
    prompt: Annotated[
        str | None, Field(max_length=65536, description="The agent's role text, prompt.md")
    ] = None
    template: Annotated[Name | None, Field(description="A template of hive.toml")] = None
    settings: Annotated[
        dict[str, Any] | None, Field(description="Keys of agent.toml that differ from the defaults")
    ] = None


class RequestApplyCommit(Arguments):
    agent: Annotated[Name, Field(description="The agent whose files the commit changes")]
    commit: Annotated[
        str, Field(pattern=r"^[0-9a-f]{7,40}$", description="7 to 40 hex digits, in your clone")
    ]
    description: Annotated[Reason, Field(description="Why; the operator reads it")] = ""


class Power(Arguments):
    agent: Name
    reason: Annotated[Reason, Field(description="Why; people read it")] = ""


Wish = RequestSpawn | RequestApplyCommit | Power
"""What the reconciler is asked for."""


class ListAgents(Arguments):
    after: Annotated[str, Field(max_length=64, description="Its `next`, for more")] = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """`once`: it takes effect, so a repeated call is answered from the store."""

    name: str
    arguments: type[Arguments]
    description: str
    manager: bool = False
    once: bool = True


def _untitled(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(inner) for name, inner in value.items()}
        if key == "properties"
        else _untitled(value)
        for key, value in schema.items()
        if key != "title"
    }


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "send",
            Send,
            "Send a message to another agent, to the operator, or to everyone. It is delivered "
            "as soon as the other is free; an answer comes to you as a message of its own.",
        ),
        Tool(
            "recv",
            Recv,
            "Take further messages that wait for you into this turn. They are done with when the "
            "turn is. When it says draining, finish: you are about to be stopped or changed.",
            once=False,
        ),
        Tool(
            "ask_operator",
            AskOperator,
            "Ask the operator. Returns the question's id at once; the answer comes later as a "
            "message, so end your turn unless you have other work.",
        ),
        Tool(
            "withdraw_question",
            WithdrawQuestion,
            "Withdraw a question of yours that needs no answer any more.",
        ),
        Tool(
            "remind",
            Remind,
            "Be sent a message later: give either at (once) or every (again and again).",
        ),
        Tool("cancel_reminder", CancelReminder, "Cancel a reminder of yours."),
        Tool(
            "request_spawn",
            RequestSpawn,
            "Ask for a new agent. People approve or deny it; you hear of it as a message.",
            manager=True,
        ),
        Tool(
            "request_apply_commit",
            RequestApplyCommit,
            "Ask to apply a commit of your clone that changes one agent's files. People approve "
            "or deny it, with a reason; you hear of it as a message.",
            manager=True,
        ),
        Tool("kill", Power, "Ask to stop an agent. Its state and mail are kept.", manager=True),
        Tool("start", Power, "Ask to start a stopped agent.", manager=True),
        Tool("restart", Power, "Ask to restart an agent once its turn is over.", manager=True),
        Tool(
            "list_agents",
            ListAgents,
            "All agents with role, state and description.",
            manager=True,
            once=False,
        ),
    )
}


@cache
def schema(name: str) -> dict[str, Any]:
    """JSON schema of a tool's arguments, without what only costs tokens."""
    found: dict[str, Any] = _untitled(TOOLS[name].arguments.model_json_schema())
    found.pop("description", None)
    return found


def offered(*, manager: bool) -> list[Tool]:
    """The tools that an agent of this role has."""
    return [tool for tool in TOOLS.values() if manager or not tool.manager]
