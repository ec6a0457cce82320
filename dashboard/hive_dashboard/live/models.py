"""What host.sock and broker.sock answer, as models.

Unknown keys are let through unread: these processes may be newer than their dashboard.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from hive_wire import protocol

MOST_LINES = 5000  # of a diff on a proposal's own page
Risk = Literal["high", "medium", "low"]
RISKS: tuple[Risk, ...] = ("high", "medium", "low")


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Event(protocol.Event):
    model_config = ConfigDict(extra="ignore")


class Message(protocol.Message):
    model_config = ConfigDict(extra="ignore")


class AgentStatus(protocol.AgentStatus):
    model_config = ConfigDict(extra="ignore")


class Condition(Answer):
    type: str
    status: Any = True
    reason: str = ""
    message: str = ""
    since: float = 0.0

    @property
    def holds(self) -> bool:
        return self.status in (True, "True", "true")

    @property
    def is_fine(self) -> bool:
        return self.holds == (self.type in ("Ready", "Healthy"))


class BrokerCondition(Condition):
    """What is wrong with the broker now. `agents`: the names of those that it is about."""

    agents: tuple[str, ...] = ()


class HostAgent(Answer):
    name: str
    uid: str | None = None
    role: str = "agent"
    container: str = ""
    engine: str = ""
    description: str = ""
    desired: str = "running"
    state: str = ""
    revision: str | None = None
    running_revision: str | None = None
    in_sync: bool = True
    conditions: tuple[Condition, ...] = ()
    web_port: int | None = None
    model: str | None = None
    network: str | None = None
    usd_per_day: float | None = None
    memory_limit: int | None = None
    tasks: int | None = None
    memory: int | None = None


class HostStatus(Answer):
    root: str = ""
    runtime: str = ""
    applied: str | None = None
    at: float = 0.0
    stale: str | None = None
    suspended: Any = None
    templates: tuple[str, ...] = ()
    agents: tuple[HostAgent, ...] = ()


class Change(Answer):
    agent: str | None = None
    field: str = ""
    before: Any = None
    after: Any = None
    risk: Risk = "medium"
    text: str = ""


class PlannedAction(Answer):
    kind: str
    agent: str | None = None
    reason: str = ""


class LeftOut(Answer):
    """What of an effect is too much for one answer, counted."""

    changes: dict[Literal["high", "medium", "low"], int] = {}
    actions: dict[str, int] = {}


class Effect(Answer):
    digest: str
    version: Any = None
    changes: tuple[Change, ...] = ()
    files: tuple[Any, ...] = ()
    actions: tuple[PlannedAction, ...] = ()
    left_out: LeftOut = LeftOut()

    @property
    def deletions(self) -> int:
        shown = sum(action.kind == "destroy" for action in self.actions)
        return shown + self.left_out.actions.get("destroy", 0)

    @property
    def is_risky(self) -> bool:
        return any(c.risk == "high" for c in self.changes) or "high" in self.left_out.changes


class Line(Answer):
    kind: Literal[" ", "+", "-"]
    old: int | None = None
    new: int | None = None
    text: str


class FileDiff(Answer):
    path: str
    status: str = "modified"
    old_mode: Any = None
    new_mode: Any = None
    added: int = 0
    removed: int = 0
    binary: bool = False
    cut: bool = False  # too long to be sent
    hunks: tuple[tuple[Line, ...], ...] = ()

    @property
    def lines(self) -> int:
        return sum(map(len, self.hunks))


class Proposal(Answer):
    n: int
    kind: str = ""
    agent: str | None = None
    requester: str = ""
    description: str = ""
    commit: str = ""
    base: str | None = None
    state: str = "open"
    created: float = 0.0
    reason: str | None = None
    by: str | None = None
    ended: float | None = None
    needs_rebase: bool = False
    problems: int = 0  # that forbid it as it is
    effect: Effect | None = None
    deployed: str | None = None
    from_agent: bool = False

    @model_validator(mode="before")
    @classmethod
    def _name_of(cls, data: Any) -> Any:
        """`agent/hm1nd` and `user/ana` are shown by their names."""
        who = data.get("requester") if isinstance(data, dict) else None
        if not isinstance(who, str):
            return data
        kind, _, name = who.rpartition("/")
        return {**data, "requester": name, "from_agent": kind == "agent"}


class Difference(Answer):
    """A package's versions, or what became of a unit."""

    name: str
    before: str | None = None
    after: str | None = None
    change: str | None = None


class BuiltSystem(Answer):
    container: str
    changed: bool = True
    packages: tuple[Difference, ...] = ()
    units: tuple[Difference, ...] = ()
    to_build: int = 0
    to_fetch: int = 0


class Build(Answer):
    """What Nix makes of it."""

    state: str
    reason: str = ""
    systems: tuple[BuiltSystem, ...] = ()
    left_out: int = 0


class ProposalDetail(Answer):
    """A proposal with what a person must see before saying yes."""

    proposal: Proposal
    diff: tuple[FileDiff, ...] = ()
    diff_left_out: int = 0  # files
    plan: Any = None
    build: Build | None = None
    checks: tuple[str, ...] = ()  # why it cannot be approved as it is

    @property
    def is_evaluated_now(self) -> bool:
        return self.build is not None and self.build.state == "running"

    @property
    def hindered(self) -> bool:
        """Whether an approval would be refused now."""
        return bool(self.checks) or self.is_evaluated_now

    @property
    def is_short(self) -> bool:
        """Whether this is not all that would be approved."""
        effect = self.proposal.effect
        left_out = effect is not None and (effect.left_out.changes or effect.left_out.actions)
        unseen = any(file.cut or file.binary for file in self.diff) or self.lines > MOST_LINES
        return bool(left_out or self.diff_left_out or unseen)

    @property
    def lines(self) -> int:
        return sum(file.lines for file in self.diff)

    @property
    def is_over_the_guard(self) -> bool:
        """Whether the loop deletes nothing unless the merge says how many agents."""
        plan = self.plan if isinstance(self.plan, dict) else {}
        return any(b.get("reason") == "PruneGuard" for b in plan.get("blocked") or ())

    @classmethod
    def of(cls, answer: dict[str, Any]) -> ProposalDetail:
        """The contract puts `diff`, `effect`, `plan`, `build`, `checks` beside the proposal's own keys,
        or the proposal under a key of its own."""
        inner = answer.get("proposal")
        own = dict(inner) if isinstance(inner, dict) else dict(answer)
        if answer.get("effect"):
            own["effect"] = answer["effect"]
        return cls(
            proposal=Proposal.model_validate(own),
            diff=answer.get("diff") or (),
            diff_left_out=answer.get("diff_left_out") or 0,
            plan=answer.get("plan"),
            build=answer.get("build"),
            checks=answer.get("checks") or (),
        )


class Permission(Answer):
    """What an engine wants to do in the middle of a turn; `rule` would allow it from now on."""

    tool: str
    input: Any = None
    rule: str | None = None
    turn: str | None = None


class Question(Answer):
    id: int
    agent: str
    uid: str | None = None
    text: str
    options: tuple[Any, ...] = ()
    multi: bool = False
    asked: float = 0.0
    expires: float | None = None
    state: str = "open"
    answer: Any = None
    answered_by: str | None = None
    kind: str = "question"
    permission: Permission | None = None


class Retired(Answer):
    """An agent that is no more; its state is kept. `at` is when it went."""

    name: str
    uid: str
    description: str = ""
    commit: str = ""
    at: float = 0.0


class DeadLetter(Answer):
    id: int
    agent: str
    message: Any = None
    attempts: int = 0
    cause: str = ""
