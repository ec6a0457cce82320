"""Who there is, as broker and gateway are told."""

from __future__ import annotations

from collections.abc import Mapping

from hive_wire.names import is_name, is_uid
from hive_wire.protocol import RegistryAgent
from hive_wire.spec import AgentSpec

from ..model.desired import Valid
from ..runtime.base import Observed
from .agents import Agents, Made
from .slices import Work


def leaving(agents: Agents) -> Work[dict[str, tuple[str, Valid]]]:
    """(name, spec) by uid of agents whose containers still live though nothing usable stands for
    them, or under a name that they had before: until those are gone, the broker can tell whether
    a turn of theirs runs."""
    found: dict[str, tuple[str, Valid]] = {}
    for seen in agents.sources.sight.of(agents.strays):
        yield
        if not seen.lives:
            continue
        agent, remembered = agents.by_uid.get(seen.uid), agents.sources.memory.get(seen.uid)
        before = seen.name.removeprefix("h-")
        if agent is not None and agent.valid is not None:
            if seen.name != agent.container and is_name(before):
                found[seen.uid] = (before, agent.valid)
        elif remembered is not None and remembered.good is not None:
            # By its container: two that were renamed may be remembered by one name.
            found[seen.uid] = (before if is_name(before) else remembered.name, remembered.good)
        elif is_uid(seen.uid) and is_name(before):
            found[seen.uid] = (before, _stranger(seen))
    return found


def _stranger(seen: Observed) -> Valid:
    """One of whom nothing is remembered: what its last turn needs, and no more."""
    spec = AgentSpec(uid=seen.uid, state="stopped", may_send_to=())
    return Valid(spec, "", seen.revision or "", "")


class Register:
    """Who there is, by uid: the same objects while nothing in them changes."""

    def __init__(self) -> None:
        self._made = Made(lambda agent: _agent(agent.name, agent.valid))

    def registering(self, agents: Agents) -> Work[Mapping[str, RegistryAgent]]:
        """Who had a name keeps it until its container is gone; who has it now waits that long."""
        staying = yield from self._made.making(agents)
        gone = yield from leaving(agents)
        if not gone:
            return staying
        taken: dict[str, RegistryAgent] = {}
        for name, valid in gone.values():
            yield
            taken[name] = _agent(name, valid)
        found = {u: a for u, a in staying.items() if u not in gone and a.name not in taken}
        return found | {one.uid: one for one in taken.values()}


def _agent(name: str, valid: Valid | None) -> RegistryAgent:
    assert valid is not None
    spec = valid.spec
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
