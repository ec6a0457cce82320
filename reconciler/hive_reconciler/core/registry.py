"""Who there is, as broker and gateway are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hive_wire.names import is_name, is_uid
from hive_wire.protocol import Registry, RegistryAgent
from hive_wire.spec import AgentSpec

from ..model.desired import Desired, Valid
from ..model.memory import Memory
from ..runtime.base import Observed, Phase


def usable(desired: Desired, memory: Memory) -> dict[str, tuple[str, Valid]]:
    """(name, spec) by uid of every agent with a uid: the applied spec, else the last good one."""
    names = {m.name: uid for uid, m in memory.agents.items() if m.good is not None}
    agents: dict[str, tuple[str, Valid]] = {}
    for name, entry in desired.agents.items():
        if isinstance(entry, Valid):
            if entry.spec.uid is not None:
                agents[entry.spec.uid] = (name, entry)
        elif (uid := names.get(name)) is not None:
            good = memory.agents[uid].good
            if good is not None:
                agents[uid] = (name, good)
    return agents


def leaving(
    memory: Memory,
    observed: Iterable[Observed],
    agents: Mapping[str, tuple[str, Valid]],
) -> dict[str, tuple[str, Valid]]:
    """Agents whose containers still live though nothing usable stands for them, or under a name
    that they had before: until those are gone, the broker can tell whether a turn of theirs runs."""
    found: dict[str, tuple[str, Valid]] = {}
    for seen in observed:
        if seen.phase is Phase.STOPPED or not is_uid(seen.uid):
            continue
        remembered = memory.agents.get(seen.uid)
        if (usable := agents.get(seen.uid)) is not None:
            if seen.name != f"h-{usable[0]}" and is_name(before := seen.name.removeprefix("h-")):
                found[seen.uid] = (before, usable[1])
        elif remembered is not None and remembered.good is not None:
            found[seen.uid] = (remembered.name, remembered.good)
        elif is_name(name := seen.name.removeprefix("h-")):
            found[seen.uid] = (name, _stranger(seen))
    return found


def _stranger(seen: Observed) -> Valid:
    """One of whom nothing is remembered: what its last turn needs, and no more."""
    spec = AgentSpec(uid=seen.uid, state="stopped", may_send_to=())
    return Valid(spec, "", seen.revision or "", "")


def registry(
    agents: Mapping[str, tuple[str, Valid]], leaving: Mapping[str, tuple[str, Valid]]
) -> Registry:
    """Who had a name keeps it until its container is gone; who has it now waits that long."""
    staying = (agent for uid, agent in agents.items() if uid not in leaving)
    by_name = {name: (name, valid) for name, valid in (*staying, *leaving.values())}
    named = sorted(by_name.values(), key=lambda agent: agent[0])
    return Registry(agents=tuple(_agent(name, valid.spec) for name, valid in named))


def _agent(name: str, spec: AgentSpec) -> RegistryAgent:
    assert spec.uid is not None
    return RegistryAgent(
        uid=spec.uid,
        name=name,
        role=spec.role,
        state=spec.state,
        engine=spec.engine,
        description=spec.description,
        may_send_to=spec.may_send_to,
        budget=spec.budget,
        network=spec.network.mode,
    )
