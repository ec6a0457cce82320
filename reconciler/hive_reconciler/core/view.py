"""What `status` answers: the swarm as it is known now, as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hive_wire.names import container_name
from hive_wire.pages import page

from ..model.desired import Valid
from ..runtime.base import Observed, Phase
from .agents import Agent
from .health import is_live
from .loop import Reconciler
from .picture import Picture

STATUS_ROOM = 128 << 10  # bytes; some 150 agents: more would keep all others waiting
MODEL_ROOM = 48 << 10  # bytes; some 250 agents


def status(reconciler: Reconciler, after: str = "") -> dict[str, Any]:
    """With the agents whose names come behind `after`, as many as one answer holds."""
    picture = reconciler.picture
    desired = picture.desired
    return {
        "root": str(reconciler.layout.root),
        "runtime": reconciler.runtime.name,
        "applied": desired.commit if desired is not None else None,
        "at": picture.at,
        "round": reconciler.rounds.served,
        "stale": _stale(picture),
        "suspended": picture.suspended or picture.suspensions.get("*"),
        "templates": [] if desired is None else sorted(desired.hive.templates),
        **page(_agents(picture, after), "name", STATUS_ROOM),
    }


def agent_list(reconciler: Reconciler, after: str = "") -> dict[str, Any]:
    """What an agent may know of the others, as many as a model reads at once."""
    keys = ("name", "role", "state", "description", "revision")
    known = (agent for agent in _agents(reconciler.picture, after) if agent["uid"] is not None)
    rows = ({**{key: agent[key] for key in keys}, "ready": _is_ready(agent)} for agent in known)
    found = page(rows, "name", MODEL_ROOM)
    return found if found["next"] is not None else {"agents": found["agents"]}


def _stale(picture: Picture) -> str | None:
    """Why what is shown is not the whole truth; None when it is."""
    if picture.stalled is not None:
        return ": ".join(picture.stalled)
    if picture.plan is None:
        return "nothing was read yet"
    guards = [b.message for b in picture.plan.blocked if b.reason == "PruneGuard"]
    return f"PruneGuard: {guards[0]}" if guards else None


def _agents(picture: Picture, after: str) -> Iterator[dict[str, Any]]:
    """Sorted by name; each is made when it is looked at."""
    if picture.desired is not None:
        by_name = picture.agents.by_name
        for name in sorted(name for name in by_name if name > after):
            yield _agent(picture, by_name[name])


def _agent(picture: Picture, agent: Agent) -> dict[str, Any]:
    name, entry = agent.name, agent.entry
    uid = agent.uid if agent.valid is not None else None
    valid = entry if isinstance(entry, Valid) else agent.valid
    spec = valid.spec if valid is not None else None
    role = spec.role if spec is not None else "agent"
    seen = picture.seen(uid or "")
    broker = (picture.statuses or {}).get(uid or "")
    revision = entry.revision if isinstance(entry, Valid) else None
    running = seen.revision if seen is not None and is_live(seen) else None
    wanted = revision if spec is not None and spec.state == "running" else None
    return {
        "name": name,
        "uid": uid,
        "role": role,
        "container": container_name(name, role),
        "engine": spec.engine if spec is not None else None,
        "description": spec.description if spec is not None else "",
        "desired": spec.state if spec is not None else None,
        "state": _state(seen.phase if seen is not None else None, broker.state if broker else None),
        "revision": revision,
        "running_revision": running,
        "outcomes": [{**vars(o)} for o in agent.memory.past],
        "in_sync": isinstance(entry, Valid) and running == wanted and not _half_way(seen),
        "conditions": [c.as_json() for c in picture.conditions.get(name, ())],
        "model": spec.model if spec is not None else None,
        "network": spec.network.mode if spec is not None else None,
        "usd_per_day": spec.budget.usd_per_day if spec is not None else None,
        "memory_limit": spec.limits.memory_bytes if spec is not None else None,
        "web_port": picture.ports.get(uid or ""),
        "tasks": seen.tasks if seen is not None else None,
        "memory": seen.memory if seen is not None else None,
    }


def _state(phase: Phase | None, reported: str | None) -> str:
    """One word for people: what the harness says while the container runs, else the container's."""
    if phase is None:
        return Phase.STOPPED.value
    if phase is Phase.RUNNING and reported is not None and reported != "offline":
        return reported
    return "starting" if phase is Phase.RUNNING else phase.value


def _half_way(seen: Observed | None) -> bool:
    return seen is not None and seen.phase in (Phase.STOPPING, Phase.BROKEN)


def _is_ready(agent: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in agent["conditions"])
