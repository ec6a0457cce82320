"""Agents as people see them: both processes' words joined into one state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hive_wire.protocol import AgentStatus

from ..html import Element, h, leet
from ..live.mirror import Snapshot
from ..live.models import Condition, HostAgent
from .common import View, age, badge

# state: glyph, colour, word
_STATES = {
    "offline": ("○", "off", "offline"),
    "starting": ("◌", "think", "starting"),
    "idle": ("●", "idle", "idle"),
    "thinking": ("◐", "think", "thinking"),
    "silent": ("◑", "think", "silent"),
    "stuck": ("✕", "bad", "stuck"),
    "waiting": ("?", "you", "asks"),
    "needs-login": ("↪", "you", "needs login"),
    "rate-limited": ("◷", "think", "rate limited"),
    "paused": ("‖", "off", "paused"),
    "failed": ("✕", "bad", "failed"),
    "stopped": ("■", "off", "stopped"),
    "stalled": ("✕", "bad", "stalled"),
    "quarantined": ("✕", "bad", "crash loop"),
    "unknown": ("·", "off", "unknown"),
}


SILENT, STUCK = 900.0, 1800.0  # seconds without an event in a turn


@dataclass(frozen=True)
class AgentView:
    name: str
    uid: str | None
    state: str
    since: float | None
    detail: str
    host: HostAgent | None
    status: AgentStatus | None
    taken: int | None = None  # its own port, which another process has

    @property
    def glyph(self) -> str:
        return _STATES[self.state][0]

    @property
    def kind(self) -> str:
        return _STATES[self.state][1]

    @property
    def word(self) -> str:
        return _STATES[self.state][2]

    @property
    def troubles(self) -> tuple[Condition, ...]:
        """Conditions that a person should know of."""
        words = f"port {self.taken} is taken by another process; its page is here all the same"
        taken = (Condition(type="PortTaken", message=words),) if self.taken else ()
        wrong = [c for c in (self.host.conditions if self.host else ()) if not c.is_fine]
        if self.state in ("stopped", "starting") or any(c.type != "Ready" for c in wrong):
            wrong = [c for c in wrong if c.type != "Ready"]  # the others say why
        return taken + tuple(wrong)

    @property
    def why(self) -> str:
        """What it does, or what is wrong, in the words that say most."""
        said = [c.message or c.reason for c in self.troubles]
        return next(
            (words for words in said if not self.detail or self.detail in words), self.detail
        )

    def badge(self) -> Element:
        return badge(self.glyph, self.word, self.kind, self.since, spin=self.state == "thinking")


def agents(snapshot: Snapshot) -> Sequence[AgentView]:
    """The manager first, then by name."""
    if _last[0] is not snapshot:
        _last[:] = [snapshot, _joined(snapshot)]
    found: Sequence[AgentView] = _last[1]
    return found


_last: list[Any] = [None, ()]  # the newest snapshot and its agents: a page asks many times


def _joined(snapshot: Snapshot) -> tuple[AgentView, ...]:
    hosts = {a.name: a for a in (snapshot.status.agents if snapshot.status else ())}
    names = sorted(
        hosts.keys() | snapshot.agents.keys(),
        key=lambda n: (n not in hosts or hosts[n].role != "manager", n),
    )
    return tuple(_view(snapshot, name, hosts.get(name)) for name in names)


class NotRead(Exception):
    """The reconciler has not said yet which agents there are."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "The reconciler is away and has not said yet which agents there are, so "
            f"{name[:40]!r} cannot be shown; try again."
        )


def agent(snapshot: Snapshot, name: str) -> AgentView | None:
    """None: there is none of that name. Raises NotRead."""
    found = next((a for a in agents(snapshot) if a.name == name), None)
    if found is None and snapshot.status is None:
        raise NotRead(name)
    return found


def _view(snapshot: Snapshot, name: str, host: HostAgent | None) -> AgentView:
    status = snapshot.agents.get(name)
    uid = host.uid if host and host.uid else status.uid if status else None
    state, since, detail = _state(host, status, broker_up="broker" not in snapshot.away)
    if state == "thinking" and uid is not None:
        state, since, detail = _heard(snapshot, uid, since, detail)
    taken = snapshot.taken.get(name)
    return AgentView(name, uid, state, since, detail, host, status, taken)


def _state(
    host: HostAgent | None, status: AgentStatus | None, *, broker_up: bool
) -> tuple[str, float | None, str]:
    conditions = {c.type: c for c in host.conditions} if host else {}
    stalled = conditions.get("Stalled")
    if stalled is not None and stalled.holds:
        return "stalled", stalled.since or None, stalled.message or stalled.reason
    if host is not None and host.desired == "stopped" and not (status and status.ready):
        return "stopped", None, "stopped by a commit"
    if status is None or not broker_up:
        return "unknown", None, "" if broker_up else "the broker is away"
    if status.paused and status.state != "thinking":
        return "paused", status.since, status.detail
    if not status.ready and host is not None and host.state in ("starting", "running"):
        return "starting", status.since, status.detail
    return status.state, status.since, status.detail


def _heard(
    snapshot: Snapshot, uid: str, since: float | None, detail: str
) -> tuple[str, float | None, str]:
    """Whether a turn still says something. A long command is silent too: a person has to look."""
    last = max(since or 0.0, snapshot.heard.get(uid, snapshot.started))
    quiet = snapshot.at - last
    if quiet < SILENT:
        return "thinking", since, detail
    return ("stuck" if quiet >= STUCK else "silent"), last, detail or "nothing heard of its turn"


def switcher(view: View, current: str) -> Element:
    """The list of agents at the side of an agent's page."""
    links = [
        h(
            f"a.s-{row.kind}",
            h("span.g", row.glyph, aria_hidden="true"),
            h("span.grow.el", row.name, h("span.sr", f", {row.word}")),
            h("span.mut", age(row.since)) if row.since else None,
            href=f"/a/{row.name}/",
            aria_current="page" if row.name == current else None,
            id=f"sw-{row.name}",
        )
        for row in agents(view.snapshot)
    ]
    return h(
        "nav.side", h("h2", leet("SW4RM", "Agents")), links, id="sec-side", aria_label="agents"
    )
