"""What may be said on broker.sock and harness.sock, as models; unknown keys are refused."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hive_wire.jsonrpc import Params
from hive_wire.pages import DEAD_AFTER
from hive_wire.protocol import AgentState, Moment, StreamRow, TurnId, Uid, Usage
from hive_wire.rpc_errors import INVALID_PARAMS, RpcError

M = TypeVar("M", bound=BaseModel)

Id = Annotated[int, Field(ge=1, lt=1 << 62)]
Cursor = Annotated[int, Field(ge=0, lt=1 << 62)]
Address = Annotated[str, Field(min_length=1, max_length=64)]
Line = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=64 << 10)]

SYSTEM_KINDS = Literal[
    "approval_resolved",
    "applied_moved",
    "spawned",
    "rebuilt",
    "killed",
    "container_crash",
    "operator_answered",
    "question_expired",
    "needs_login",
    "dead_letter",
]


class Call(BaseModel):
    # Built at first use: no process speaks of all of these.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Agents(Call):
    uids: tuple[Uid, ...] | None = None  # None: all
    after: Uid | None = None


class Figures(Call):
    after: Cursor = 0


class Nothing(Call):
    pass


# -- broker.sock -----------------------------------------------------------------


class System(Call):
    to: Address
    kind: SYSTEM_KINDS
    body: str
    data: dict[str, Any] | None = None
    key: Line


class Hold(Call):
    uid: Uid
    token: Annotated[str, Field(min_length=1, max_length=200)]
    ttl: Annotated[float, Field(gt=0, le=60)]


class Owned(Call):
    uid: Uid
    token: Annotated[str, Field(min_length=1, max_length=200)]


class One(Call):
    uid: Uid


class Interrupt(Call):
    uid: Uid
    by: Line


class Export(Call):
    uid: Uid
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
    have: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")], ...], Field(max_length=10_000)
    ]
    stream: Annotated[str, Field(min_length=1, max_length=200)]


class Send(Call):
    to: Address
    body: str
    by: Line
    thread: Id | None = None
    in_reply_to: Id | None = None
    key: Line | None = None


class Messages(Call):
    peer: Address | None = None
    after: Cursor | None = None
    before: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class Inbox(Call):
    after: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ListQuestions(Call):
    open: bool = True
    soonest: bool = False
    after: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class Answer(Call):
    id: Id
    by: Line
    text: Text | None = None
    choices: Annotated[tuple[Line, ...], Field(max_length=100)] | None = None


class HoldQuestion(Call):
    id: Id
    more: Annotated[float, Field(gt=0, le=3600)] | None = None


class ListDead(Call):
    after: Annotated[str, Field(pattern=DEAD_AFTER)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 200


class Dead(Call):
    id: Id
    agent: Address
    by: Line


class Undamp(Call):
    agents: Annotated[tuple[Address, ...], Field(min_length=1, max_length=100)]
    by: Line


class Pause(Call):
    uid: Uid | None
    by: Line
    reason: Annotated[str, Field(max_length=1000)] = ""


class Command(Call):
    uid: Uid
    command: Literal["help", "cancel", "clear", "compact", "model", "new-session"]
    argument: Line | None = None
    by: Line


class Login(Call):
    uid: Uid
    by: Line


class LoginCode(Call):
    uid: Uid
    code: Annotated[str, Field(min_length=1, max_length=2000)]
    by: Line


class Events(Call):
    uid: Uid | None = None
    after: Cursor | None = None
    before: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    kinds: Annotated[tuple[Line, ...], Field(max_length=50)] | None = None


class Search(Call):
    agent: Address | None
    query: Annotated[str, Field(min_length=1, max_length=200)]
    kinds: Annotated[tuple[Line, ...], Field(min_length=1, max_length=50)] | None = None
    before: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class Subscribe(Call):
    after: Cursor | None
    uid: Uid | None = None
    stream: bool


class Used(Call):
    uid: Uid
    usage: Usage
    usd: Annotated[float, Field(ge=0, lt=1e9)] = 0.0
    at: Moment


class Limited(Call):
    uid: Uid
    until: Moment


# -- harness.sock ----------------------------------------------------------------


class Stream(Call):
    rows: Annotated[tuple[StreamRow, ...], Field(max_length=10_000)]


class State(Call):
    state: AgentState
    detail: Annotated[str, Field(max_length=1000)] = ""
    until: Moment | None = None


class Permission(Call):
    key: Annotated[str, Field(min_length=1, max_length=200)]
    turn: TurnId
    tool: Annotated[str, Field(min_length=1, max_length=200)]
    input: dict[str, Any]
    ttl: Annotated[float, Field(gt=0, le=86400)]


class PermissionKey(Call):
    key: Annotated[str, Field(min_length=1, max_length=200)]


class Wake(Call):
    body: str
    key: Annotated[str, Field(min_length=1, max_length=100)]


class Chunk(Call):
    stream: Annotated[str, Field(max_length=200)]
    data: Annotated[str, Field(max_length=720_000)]  # base64 of 512 KiB and a bit


def parse(model: type[M], params: Params) -> M:
    """The params as a model. Raises RpcError(INVALID_PARAMS) naming each wrong key."""
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise RpcError(INVALID_PARAMS, problems(model, error)) from None


def problems(model: type[BaseModel], error: ValidationError) -> str:
    """Every problem in words: the key, what is wrong, a near key."""
    return "; ".join(_problem(model, found) for found in error.errors()[:5])


def _problem(model: type[BaseModel], error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "params"
    if error["type"] != "extra_forbidden":
        return f"{where[:80]}: {str(error['msg']).removeprefix('Value error, ')}"
    near = difflib.get_close_matches(str(error["loc"][-1]), list(model.model_fields), 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near and len(error["loc"]) == 1 else ""
    return f"{where[:80]}: is no key here{hint}"
