"""Every action there is: where it is asked for, what it takes, who does it.

The forms' routes and the API are both made from this table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from . import swarm_acts as swarm
from . import talk_acts as talk
from .job import Job
from .wishes import (
    Answer,
    Approve,
    Command,
    Dead,
    Deny,
    LoginCode,
    Nothing,
    Power,
    Prompt,
    Purge,
    Reason,
    Send,
    Spawn,
    Wish,
)


@dataclass(frozen=True)
class Action:
    """`path` may hold {n} (a number) and {name} (an agent's); `form` names its drafts.
    `changes_swarm`: proposals and containers are read again afterwards."""

    path: str
    wish: type[Wish]
    act: Callable[[Job], Awaitable[str]]
    form: str
    summary: str
    changes_swarm: bool = False


ACTIONS = (
    Action(
        "/proposals/{n}/approve",
        Approve,
        swarm.approve,
        "approve-{n}",
        "Merge a proposal whose effect has this digest",
        True,
    ),
    Action("/proposals/{n}/deny", Deny, swarm.deny, "deny-{n}", "Deny a proposal", True),
    Action(
        "/proposals/{n}/changes",
        Deny,
        swarm.changes,
        "changes-{n}",
        "Ask the agent behind a proposal to change it",
    ),
    Action(
        "/proposals/{n}/withdraw",
        Nothing,
        swarm.withdraw,
        "withdraw-{n}",
        "Withdraw a proposal",
        True,
    ),
    Action(
        "/proposals/{n}/revert",
        Reason,
        swarm.revert,
        "revert-{n}",
        "Propose to take a merge back",
        True,
    ),
    Action("/spawn", Spawn, swarm.spawn, "spawn", "Propose a new agent", True),
    Action("/a/{name}/power", Power, swarm.power, "power", "Start, stop or restart an agent", True),
    Action("/a/{name}/retire", Reason, swarm.retire, "retire", "Propose to retire an agent", True),
    Action(
        "/kept/{name}/revive",
        Nothing,
        swarm.revive,
        "revive-{name}",
        "Propose a retired agent again",
        True,
    ),
    Action(
        "/kept/{name}/purge",
        Purge,
        swarm.purge,
        "purge-{name}",
        "Remove for good what is kept of a retired agent",
        True,
    ),
    Action("/send", Send, talk.send, "send", "Write to an agent, or to everyone"),
    Action(
        "/a/{name}/prompt",
        Prompt,
        talk.prompt,
        "prompt",
        "Write to an agent, or command it (/help)",
    ),
    Action(
        "/a/{name}/command", Command, talk.command, "command", "Give an agent's engine a command"
    ),
    Action("/a/{name}/pause", Nothing, talk.pause_one, "pause", "Start no new turns of an agent"),
    Action("/a/{name}/unpause", Nothing, talk.unpause_one, "pause", "Let an agent go on"),
    Action(
        "/a/{name}/login/start", Nothing, talk.login_start, "login", "Begin an agent's own login"
    ),
    Action("/a/{name}/login/code", LoginCode, talk.login_code, "login", "End it with the code"),
    Action("/a/{name}/login/cancel", Nothing, talk.login_cancel, "login", "Leave an agent's login"),
    Action("/questions/{n}/answer", Answer, talk.answer, "answer-{n}", "Answer a question"),
    Action(
        "/questions/{n}/hold",
        Nothing,
        talk.hold,
        "answer-{n}",
        "Keep a question open while somebody types",
    ),
    Action(
        "/questions/{n}/extend",
        Nothing,
        talk.extend,
        "answer-{n}",
        "Give a question 15 minutes more",
    ),
    Action("/dead/{n}/retry", Dead, talk.dead_retry, "dead", "Deliver a dead letter again"),
    Action("/dead/{n}/drop", Dead, talk.dead_drop, "dead", "Drop a dead letter"),
    Action(
        "/undamp", Nothing, talk.undamp, "undamp", "Let agents begin anew that wait for talking"
    ),
    Action("/pause", Nothing, talk.pause, "freeze", "Freeze: start no new turns of any agent"),
    Action("/unpause", Nothing, talk.unpause, "freeze", "Let all agents go on"),
)
