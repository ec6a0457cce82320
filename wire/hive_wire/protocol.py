"""What is said on the sockets, as models. docs/protocol.md says it in words.

The harness has the standard library only and builds the same objects by hand; the
broker checks everything it hears with these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .terms import Budget, EngineName, NetworkMode, Role, State

MAX_BODY = 256 << 10  # bytes of a message body: fits a frame even when JSON doubles it

Uid = Annotated[str, Field(pattern=r"^[a-z0-9]{12}$")]
Oid = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
TurnId = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,18}\.[1-9][0-9]{0,5}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Moment = Annotated[float, Field(ge=0, lt=1e11)]  # unix seconds that every calendar has
Label = Annotated[str, Field(max_length=200)]
Outcome = Literal["ok", "failed", "cancelled"]
AgentState = Literal[
    "offline",
    "starting",
    "idle",
    "thinking",
    "waiting",
    "needs-login",
    "rate-limited",
    "paused",
    "failed",
]


class Frame(BaseModel):
    # Built at first use: no process speaks of all of these.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class RegistryAgent(Frame):
    """One agent as the reconciler tells broker and gateway."""

    uid: Uid
    name: str
    role: Role
    state: State
    engine: EngineName
    description: str
    may_send_to: tuple[str, ...]
    budget: Budget
    network: NetworkMode


class Registry(Frame):
    """All agents there are; who is missing is retired. One that fills no single frame comes in
    parts, in order: it holds when the last one came."""

    agents: tuple[RegistryAgent, ...]
    part: Annotated[int, Field(ge=0)] = 0
    parts: Annotated[int, Field(ge=1)] = 1


class RegistryChange(Frame):
    """What is another than in the registry that the receiver has."""

    agents: tuple[RegistryAgent, ...] = ()
    gone: tuple[Uid, ...] = ()


class AgentFile(Frame):
    """/run/hive/agent.json: what the harness needs, rewritten by the reconciler in one rename."""

    uid: Uid
    name: str
    role: Role
    engine: EngineName
    model: str
    description: str
    prompt: str  # the text, not the file's name
    tools: tuple[str, ...]
    network: NetworkMode
    revision: str
    ask: tuple[str, ...] = ()  # of `tools`: a person is asked before each use
    allow: tuple[str, ...] = ()  # rules for uses that nobody is asked about
    compact_at: float = 0.7
    when_cold: Literal["resume", "notes"] = "resume"


class Usage(Frame):
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0


class TurnEnd(Frame):
    """The terminal event of a turn. Kept in the harness's spool until confirmed."""

    turn: TurnId
    outcome: Outcome
    counted: bool = False  # failed for a cause in the message or the model
    cause: Label = ""  # one of docs/protocol.md, "causes"
    detail: Annotated[str, Field(max_length=4000)] = ""
    retry_at: Moment | None = None  # do not deliver before
    session: Label | None = None
    discarded: bool = False  # the session was given up; what recv attached is returned
    usage: Usage = Usage()
    cost_usd: Annotated[float, Field(ge=0, lt=1e9)] = 0.0
    duration_ms: Count = 0
    context: Count = 0  # tokens that the model last read and wrote
    window: Count = 0  # tokens that it can; 0: unknown
    unseen: tuple[str, ...] = ()  # tool calls whose result the engine does not have


class Running(Frame):
    turn: TurnId
    handed: tuple[str, ...] = ()  # tool calls whose result the engine has


class Hello(Frame):
    boot: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
    version: str
    session: str | None = None
    running: Running | None = None
    ended: Annotated[tuple[TurnEnd, ...], Field(max_length=100)] = ()


class Grant(Frame):
    """A waking message. The same turn id again means: resume that turn."""

    turn: TurnId
    message: Message
    unread: int


class Message(Frame):
    id: int
    sender: str
    to: str
    kind: str  # "text", or a system message's type
    body: str
    data: dict[str, Any] | None = None
    thread: int
    in_reply_to: int | None = None
    at: float  # unix seconds


class StreamRow(Frame):
    """One row of event history. `n` counts up within a boot; the broker drops what it has."""

    n: Annotated[int, Field(ge=1, lt=1 << 53)]
    turn: TurnId | None = None
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,39}$")]
    data: dict[str, Any]
    at: Moment


class Event(Frame):
    """One row of the broker's history. `id` is global and ascending, `seq` per agent."""

    id: int
    agent: str | None  # uid
    name: str
    seq: int
    turn: str | None
    kind: str
    data: dict[str, Any]
    at: float


class AgentStatus(Frame):
    """One agent as the broker sees it now."""

    uid: Uid
    name: str
    ready: bool
    boot: str | None
    state: AgentState
    since: float
    detail: str
    until: float | None
    turn: str | None
    queued: int
    dead: int
    held: bool
    fenced: bool
    paused: bool
    last_event: int
    last_seen: float | None
    engine_pids: int | None = None


Grant.model_rebuild()
