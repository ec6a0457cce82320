"""Who there is, as broker and gateway are told."""

from __future__ import annotations

from collections.abc import Iterable

from hive_wire.protocol import Registry, RegistryAgent

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
    desired: Desired, memory: Memory, observed: Iterable[Observed]
) -> dict[str, tuple[str, Valid]]:
    """Retired agents whose containers still live: until they are gone, the broker can tell
    whether a turn of theirs runs. One whose name is used again is not among them."""
    agents = usable(desired, memory)
    found: dict[str, tuple[str, Valid]] = {}
    for seen in observed:
        remembered = memory.agents.get(seen.uid)
        if seen.uid in agents or seen.phase is Phase.STOPPED or remembered is None:
            continue
        if remembered.good is not None and remembered.name not in desired.agents:
            found[seen.uid] = (remembered.name, remembered.good)
    return found


def registry(desired: Desired, memory: Memory, observed: Iterable[Observed] = ()) -> Registry:
    agents = {**leaving(desired, memory, observed), **usable(desired, memory)}
    return Registry(
        agents=tuple(
            RegistryAgent(
                uid=uid,
                name=name,
                role=valid.spec.role,
                state=valid.spec.state,
                engine=valid.spec.engine,
                description=valid.spec.description,
                may_send_to=valid.spec.may_send_to,
                budget=valid.spec.budget,
                network=valid.spec.network.mode,
            )
            for uid, (name, valid) in sorted(agents.items(), key=lambda i: i[1][0])
        )
    )
