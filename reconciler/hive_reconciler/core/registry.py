"""Who there is, as broker and gateway are told."""

from __future__ import annotations

from hive_wire.protocol import Registry, RegistryAgent

from ..model.desired import Desired, Valid
from ..model.memory import Memory


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


def registry(desired: Desired, memory: Memory) -> Registry:
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
            for uid, (name, valid) in sorted(usable(desired, memory).items(), key=lambda i: i[1][0])
        )
    )
